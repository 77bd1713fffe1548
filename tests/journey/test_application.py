"""An application with the base install alone, and the system that runs beside it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from journey_machine import wait_until

ROOT = Path(__file__).parents[2]

APPLICATION = """
import sys
from importlib.util import find_spec
assert not [name for name in ("celery", "sqlalchemy", "sqlmodel", "anthropic") if find_spec(name)]
from bakehouse import enqueue_record, enqueue_records
receipt = enqueue_record(
    {"model": "claude-haiku-5-5", "max_tokens": 16, "messages": [{"role": "user", "content": "one by one"}]},
    custom_id="ticket-42", job="triage", metadata={"ticket": 42},
)
assert (receipt.job, receipt.custom_id) == ("triage", "ticket-42")
print(enqueue_records((
    {"custom_id": f"ticket {n}", "params": {"model": "claude-haiku-5-5", "max_tokens": 16,
     "messages": [{"role": "user", "content": f"many {n}"}]}} for n in range(1200)), job="triage"))
"""


@pytest.fixture(scope="module")
def base_install(tmp_path_factory):
    """A virtual environment with the producer's dependencies and nothing else."""
    home = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    python = home / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), str(ROOT)], check=True)
    return python


def test_an_application_with_the_base_install_enqueues_into_a_running_system(running_machine, api, base_install):
    machine = running_machine
    done = subprocess.run(
        [str(base_install), "-c", APPLICATION], cwd=machine.home, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "1200\n"), done.stderr

    def exported():
        run = machine.run("export", "--job", "triage", "-o", "out.jsonl")
        return run.returncode == 0 and len(machine.lines()) == 1201

    wait_until(exported, "all answers are there")
    assert {answer["result"]["type"] for answer in machine.lines()} == {"succeeded"}
    assert api.totals()["accepted_twice"] == 0
    status = machine.run("status")
    assert "triage: 1,201 records, open" in status.stdout
    shown = machine.run("show", "ticket-42")
    assert "succeeded" in shown.stdout
    assert "one by one" not in status.stdout + shown.stdout

    machine.write(30)
    by_file = machine.run("enqueue", "in.jsonl", "--job", "by-file")
    assert by_file.returncode == 0, by_file.stderr
    assert "30 records" in by_file.stdout
    wait_until(lambda: "30 succeeded" in machine.run("status").stdout, "the file's records have their answers")


def test_the_base_install_says_which_extra_the_command_line_needs(base_install):
    done = subprocess.run([str(base_install.with_name("bakehouse")), "run"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "bakehouse[all]" in done.stderr


def test_the_demo_runs_without_a_key_or_a_server_on_the_path(machine):
    path = str(Path(sys.executable).parent)
    assert shutil.which("redis-server", path=path) is None
    done = machine.run("demo", "--records", "400", PATH=path, ANTHROPIC_API_KEY="", ANTHROPIC_BASE_URL="")
    assert done.returncode == 0, done.stdout + done.stderr
    records, answers = re.search(r"(\d+) records, (\d+) answers", done.stdout).groups()
    (failed,) = re.search(r"(\d+) failed:", done.stdout).groups()
    assert (records, int(answers) + int(failed)) == ("400", 400)
    assert "the first answers:" in done.stdout


def test_prompts_answers_and_keys_are_in_no_log_and_do_not_stay_in_redis(machine, api):
    api.rules({"on": "create", "fault": "lost_after_acceptance", "times": 1})
    api.rules(
        {
            "on": "result",
            "fault": "errored",
            "type": "api_error",
            "message": "CANARY-ERROR",
            "first_times": 1,
            "share": 0.5,
        }
    )
    machine.write(50, system="CANARY-PROMPT")
    done = machine.run("run", "in.jsonl", "-o", "out.jsonl", ANTHROPIC_API_KEY="CANARY-KEY")
    assert done.returncode == 0, done.stderr
    logs = "".join(log.read_text(errors="replace") for log in (machine.home / ".bakehouse" / "logs").iterdir())
    assert "submitted" in logs
    for secret in ("CANARY", "answer to"):
        assert secret not in logs
        assert secret not in done.stdout + done.stderr
    kept = b"".join(file.read_bytes() for file in (machine.home / ".bakehouse" / "redis").rglob("*") if file.is_file())
    assert b"CANARY" not in kept  # what was accepted does not stay in the embedded Redis
