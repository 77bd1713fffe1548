"""What a person sees when a whole job would fail: one sentence, before it costs anything, and how to go on."""

from __future__ import annotations

RETIRED = "claude-3-5-haiku-20241022"


def test_a_run_with_a_retired_model_ends_with_one_sentence_and_sends_nothing(machine, api):
    machine.write(30, model=RETIRED)
    done = machine.run("run", "in.jsonl", "-o", "out.jsonl")
    assert done.returncode == 2
    assert done.stderr == (
        f"bakehouse: 30 records not sent, because model {RETIRED} is parked: {RETIRED} is retired since 2026-02-19; "
        f"if that is well, `bakehouse resume --model {RETIRED}`, then this command again, sends them\n"
    )
    assert api.totals()["accepted"] == 0


def test_a_canary_that_fails_ends_the_run_and_resume_sends_the_rest(machine, api):
    rule = {"on": "result", "fault": "errored", "type": "invalid_request_error", "message": "messages: no", "times": 20}
    api.rules(rule)
    machine.write(200)
    done = machine.run("run", "in.jsonl", "-o", "out.jsonl", "--job", "labels", "--canary", "20")
    assert done.returncode == 2
    assert "180 records not sent, because job labels is parked: 20 of 20 records of its canary failed" in done.stderr
    assert api.totals()["accepted"] == 20
    told = machine.run("resume", "--job", "labels")
    assert (told.returncode, told.stdout) == (0, "job labels goes on\n")
    done = machine.run("run", "in.jsonl", "-o", "out.jsonl", "--job", "labels")
    assert done.returncode == 1  # twenty are dead letters
    assert sum(line["result"]["type"] == "succeeded" for line in machine.lines()) == 180
