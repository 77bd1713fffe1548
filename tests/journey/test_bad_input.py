"""What a person can mend is one sentence with its place, exit code 2, and nothing is enqueued."""

from __future__ import annotations

import json

import pytest

GOOD = {"model": "claude-haiku-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def line(custom_id="x", **changes):
    params = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return json.dumps({"custom_id": custom_id, "params": params})


BAD_LINES = {
    "not JSON": ("{oops", "is not JSON"),
    "not an object": ("[1, 2]", "is not an object"),
    "no params": ('{"custom_id": "x"}', "params: is missing"),
    "no custom_id": (json.dumps({"params": GOOD}), "custom_id: is missing"),
    "an unknown field": (json.dumps({"custom_id": "x", "params": GOOD, "prams": 1}), "prams: is unknown"),
    "no model": (line(model=None), "params.model: is missing"),
    "max_tokens 0": (line(max_tokens=0), "params.max_tokens: must be a whole number of at least 1"),
    "stream": (line(stream=True), "params.stream: a batch cannot stream"),
    "temperature": (line(temperature=0.5), "params.temperature: API version 2026-10-21 refuses sampling"),
    "an empty custom_id": (line(""), "custom_id: must have 1 to 512 characters, not 0"),
    "a 600-character custom_id": (line("y" * 600), "custom_id: must have 1 to 512 characters, not 600"),
    "a NUL in the custom_id": (line("a\x00b"), "custom_id: must not contain a NUL"),
    "a lone surrogate": ('{"custom_id": "\\ud800", "params": {}}', "lone surrogate"),
    "a duplicate custom_id": (line("good"), "custom_id: the same as in line 1"),
}


@pytest.mark.parametrize("what", BAD_LINES)
def test_a_bad_line_is_told_by_its_number_and_nothing_is_enqueued(machine, api, what):
    bad, reason = BAD_LINES[what]
    (machine.home / "in.jsonl").write_text(f"{line('good')}\n\n{bad}\n")
    done = machine.run("run", "in.jsonl", "-o", "out.jsonl")
    assert done.returncode == 2
    (told,) = [row for row in done.stdout.splitlines() if row.startswith("in.jsonl:")]
    assert told.startswith("in.jsonl:3: ")
    assert reason in told
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    assert api.totals()["accepted"] == 0
    assert not (machine.home / "out.jsonl").exists()


def test_skip_bad_sends_the_good_lines_and_says_which_were_left_out(running_machine, api):
    machine = running_machine
    rows = [line("first"), *(bad for bad, _ in BAD_LINES.values() if "good" not in bad), line("last")]
    (machine.home / "in.jsonl").write_text("\n".join(rows) + "\n")
    done = machine.run("run", "in.jsonl", "-o", "out.jsonl", "--skip-bad")
    assert done.returncode == 0, done.stderr
    assert [answer["custom_id"] for answer in machine.lines()] == ["first", "last"]
    assert "in.jsonl:2: " in done.stdout
    assert f"left out: {len(rows) - 2} bad lines" in done.stdout
    assert api.totals()["accepted"] == 2


def refused(done, *words):
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_an_empty_a_missing_and_a_strange_file_are_refused(machine):
    (machine.home / "empty.jsonl").touch()
    refused(machine.run("run", "empty.jsonl", "-o", "out.jsonl"), "empty.jsonl", "no lines")
    refused(machine.run("run", "missing.jsonl", "-o", "out.jsonl"), "missing.jsonl", "no such file")
    refused(machine.run("run", ".", "-o", "out.jsonl"), "is a directory")


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_sent(machine, api):
    machine.write(2)
    refused(
        machine.run("run", "in.jsonl", "-o", "no/such/folder/out.jsonl"),
        "no/such/folder/out.jsonl",
        "cannot be written",
    )
    refused(machine.run("run", "in.jsonl", "-o", "."), "is a directory")
    assert api.totals()["accepted"] == 0


def test_a_wrong_key_is_refused_before_anything_is_sent(machine, api):
    machine.write(2)
    refused(machine.run("run", "in.jsonl", "-o", "out.jsonl", ANTHROPIC_API_KEY="bad-key"), "ANTHROPIC_API_KEY")
    refused(machine.run("run", "in.jsonl", "-o", "out.jsonl", ANTHROPIC_API_KEY=""), "ANTHROPIC_API_KEY is not set")
    assert api.totals()["accepted"] == 0


def test_an_origin_that_does_not_answer_is_told(machine):
    machine.write(2)
    done = machine.run("run", "in.jsonl", "-o", "out.jsonl", ANTHROPIC_BASE_URL="http://127.0.0.1:9")
    refused(done, "http://127.0.0.1:9", "does not answer")


def test_a_misspelt_setting_is_told_with_the_right_one(machine):
    machine.write(2)
    done = machine.run("run", "in.jsonl", "-o", "out.jsonl", BAKEHOUSE_MAX_BATCH_REQUEST="10")
    refused(done, "BAKEHOUSE_MAX_BATCH_REQUEST", "did you mean BAKEHOUSE_MAX_BATCH_REQUESTS?")
    refused(machine.run("status", BAKEHOUSE_LINGER="soon"), "BAKEHOUSE_LINGER")


def test_looking_before_there_is_anything_says_so(machine):
    refused(machine.run("status"), "no store")
    refused(machine.run("enqueue", str(machine.write(1))), "no embedded server")


def test_the_input_is_never_overwritten_by_the_output(machine):
    source = machine.write(3)
    before = source.read_bytes()
    refused(machine.run("run", "in.jsonl", "-o", "./in.jsonl"), "is the input")
    assert source.read_bytes() == before


def test_roles_say_what_is_missing_and_do_not_try_another_broker(machine):
    refused(machine.run("worker", "--queues", "control"), "BAKEHOUSE_REDIS_URL")
    refused(machine.run("beat"), "BAKEHOUSE_REDIS_URL")
    refused(machine.run("worker", "--queues", "contrl"), "contrl")
    refused(machine.run("up", ANTHROPIC_API_KEY=""), "ANTHROPIC_API_KEY")
