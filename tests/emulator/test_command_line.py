"""`python -m bakehouse_emulator` as a person meets it."""

import ast
import os
import signal
import socket
import subprocess
import sys

import pytest

from bakehouse_emulator.cli import main


@pytest.mark.parametrize("request_to_end", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_on_request(spawn, request_to_end):
    process, server = spawn()
    assert process.stdout.readline() == f"listening on {server.url}\n"
    process.send_signal(request_to_end)
    rest, _ = process.communicate(timeout=10)
    assert (rest, process.returncode) == ("", 0)


def test_quiet_says_nothing(spawn):
    process, _ = spawn("--quiet")
    process.terminate()
    assert process.communicate(timeout=10)[0] == ""


def test_a_port_in_use_is_one_sentence_and_exit_code_2(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said == f"Port {port} on 127.0.0.1 is in use; choose another with --port, or 0 for any free one.\n"


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("nonsense", "not JSON"),
        ('[{"on": "create", "fault": "explode"}]', "got 'explode'"),
        ('{"rules": [], "options": {"sped": 1}}', "did you mean 'speed'"),
    ],
)
def test_a_bad_script_is_one_sentence_and_exit_code_2(tmp_path, capsys, script, wanted):
    path = tmp_path / "script.json"
    path.write_text(script)
    assert main(["--port", "0", "--script", str(path)]) == 2
    said = capsys.readouterr().err
    assert wanted in said and said.count("\n") == 1


def test_a_script_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert main(["--port", "0", "--script", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_keys_are_given_as_pairs(spawn, call):
    _, server = spawn("--keys", "one=wrkspc_1,two=wrkspc_2")
    assert call(server, key="two").get().headers["anthropic-workspace-id"] == "wrkspc_2"


def test_it_imports_nothing_of_ours():
    code = "import sys, bakehouse_emulator.cli; print({name.split('.')[0] for name in sys.modules})"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    modules = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout
    assert "bakehouse_emulator" in modules
    assert not {"bakehouse", "bakehouse_worker", "anthropic"} & set(ast.literal_eval(modules))
