"""`bakehouse run`: a file in, a file out, whatever happens in between."""

from __future__ import annotations

import os
import signal

import pytest
from journey_machine import wait_until

from bakehouse_worker.local import embedded
from bakehouse_worker.states import BatchState


def free_form(number):
    """Ids as people have them: spaces, other alphabets, 300 characters."""
    long = f"{number} " + "x" * (299 - len(str(number)))
    return (f"récord {number} ☃", f"записка № {number}", long)[number % 3]


def test_ten_thousand_free_form_ids_come_back_in_order_once_each_and_only_new_lines_are_sent_later(machine, api):
    api.options({"results_url": "https://elsewhere.invalid"})
    machine.write(10_000, custom_id=free_form)
    unhurried = {
        "BAKEHOUSE_MAX_BATCH_REQUESTS": "1000",
        "BAKEHOUSE_LINGER": "60",
    }  # what is full leaves, and the rest at the end
    done = machine.run("run", "in.jsonl", "-o", "out.jsonl", ANTHROPIC_BASE_URL=f"{api.url}/v1", **unhurried)
    assert done.returncode == 0, done.stderr
    machine.check_answers()
    assert api.stats()["calls"]["create"] in (10, 11)
    assert "10,000 records, 10,000 answers" in done.stdout
    assert "synchronous calls would have cost $" in done.stdout
    first = (machine.home / "out.jsonl").read_bytes()

    again = machine.run("run", "in.jsonl", "-o", "out.jsonl")
    assert again.returncode == 0
    assert api.totals()["accepted"] == 10_000
    assert (machine.home / "out.jsonl").read_bytes() == first

    machine.write(1, start=10_000, mode="a")
    appended = machine.run("run", "in.jsonl", "-o", "out.jsonl")
    assert appended.returncode == 0
    assert api.totals()["accepted"] == 10_001
    machine.check_answers()
    assert machine.run("doctor").returncode == 0

    machine.write(1, start=10_001, mode="a")
    elsewhere = api.url.replace("127.0.0.1", "localhost")
    refused = machine.run("run", "in.jsonl", "-o", "out.jsonl", ANTHROPIC_BASE_URL=elsewhere)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert elsewhere in refused.stderr
    assert api.totals()["accepted"] == 10_001


KILLED_WHILE = {
    "it uploads": (
        {"on": "create", "fault": "slow_read", "seconds": 0.3, "times": 3},
        (BatchState.UPLOADING, BatchState.CLOSING),
    ),
    "batches are in flight": (None, (BatchState.IN_PROGRESS,)),
    "it collects": ({"on": "results", "fault": "slow_stream", "seconds": 1, "times": 3}, (BatchState.ENDED,)),
}


@pytest.mark.parametrize("moment", KILLED_WHILE)
def test_killed_with_its_whole_tree_and_run_again_it_goes_on_and_nothing_is_accepted_twice(machine, api, moment):
    rule, states = KILLED_WHILE[moment]
    if rule:
        api.rules(rule)
    machine.write(2_500, system="x" * 500)
    env = {"BAKEHOUSE_MAX_BATCH_REQUESTS": "500"}
    process = machine.start("run", "in.jsonl", "-o", "out.jsonl", **env)
    wait_until(lambda: any(batch.state in states for batch in machine.batches()), f"killed while {moment}")
    machine.kill_tree(process)
    wait_until(lambda: not machine.left_running(), "its children died with it", 10)
    assert not (machine.home / "out.jsonl").exists()
    done = machine.run("run", "in.jsonl", "-o", "out.jsonl", **env)
    assert done.returncode == 0, done.stdout + done.stderr
    machine.check_answers()
    totals = api.totals()
    assert (totals["accepted"], totals["accepted_twice"], totals["billed"]) == (2_500, 0, 2_500)
    assert machine.run("doctor").returncode == 0


def test_ctrl_c_stops_cleanly_says_what_happens_and_the_same_command_goes_on(machine, api):
    api.options({"batch_seconds": 600})
    machine.write(500)
    process = machine.start("run", "in.jsonl", "-o", "out.jsonl")
    wait_until(
        lambda: any(batch.state == BatchState.IN_PROGRESS for batch in machine.batches()), "a batch is in flight"
    )
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert "goes on" in (machine.home / "output.txt").read_text()
    wait_until(lambda: not machine.left_running(), "nothing is left running", 5)
    done = machine.run("run", "in.jsonl", "-o", "out.jsonl")
    assert done.returncode == 0, done.stderr
    machine.check_answers()
    assert api.totals()["accepted_twice"] == 0


def test_two_runs_of_one_job_exclude_each_other_and_two_jobs_share_one_server(machine, api):
    api.options({"batch_seconds": 300})
    machine.write(50)
    machine.write(50, "other.jsonl", start=50)
    first = machine.start("run", "in.jsonl", "-o", "out.jsonl")
    wait_until(lambda: machine.batches(), "the first run has packed")
    refused = machine.run("run", "in.jsonl", "-o", "out2.jsonl")
    assert refused.returncode == 2
    assert "another `bakehouse run`" in refused.stderr
    second = machine.run("run", "other.jsonl", "-o", "other-out.jsonl")
    assert second.returncode == 0, second.stderr
    assert first.wait(60) == 0
    machine.check_answers()
    machine.check_answers("other.jsonl", "other-out.jsonl")
    assert api.totals()["accepted_twice"] == 0


def test_redis_flushed_in_the_middle_loses_nothing_of_a_file(machine, api):
    machine.write(2_000)
    api.options({"batch_seconds": 120})
    process = machine.start("run", "in.jsonl", "-o", "out.jsonl")
    wait_until(lambda: machine.batches(), "something is packed")
    import redis

    redis.Redis.from_url((machine.home / ".bakehouse" / "redis.url").read_text().strip()).flushall()
    assert process.wait(LIMIT_OF_A_RUN) == 0
    machine.check_answers()
    assert api.totals()["accepted_twice"] == 0


LIMIT_OF_A_RUN = 60


def test_failures_updates_limits_and_retries_each_do_what_they_say(running_machine, api):
    machine = running_machine
    machine.write(20)
    machine.write(2, start=20, mode="a", model="claude-of-nowhere")
    assert machine.run("resume", "--model", "claude-of-nowhere").returncode == 0  # sent whatever the API tells of it
    machine.write(1, start=22, mode="a", max_tokens=10_000_000)
    api.rules(
        {
            "on": "result",
            "fault": "errored",
            "type": "overloaded_error",
            "message": "busy",
            "first_times": 1,
            "share": 0.3,
        },
        {"on": "result", "fault": "errored", "type": "invalid_request_error", "message": "no", "prompt": "item 3"},
    )
    limited = machine.run("run", "in.jsonl", "-o", "out.jsonl", "--limit", "3")
    assert (limited.returncode, len(machine.lines())) == (0, 3), limited.stderr

    done = machine.run("run", "in.jsonl", "-o", "out.jsonl")
    assert done.returncode == 1, done.stderr
    results = [line["result"] for line in machine.lines()]
    assert [n for n, result in enumerate(results) if result["type"] == "errored"] == [3, 20, 21, 22]
    assert results[3]["error"]["error"]["message"] == "no"
    assert "claude-of-nowhere" in results[20]["error"]["error"]["message"]
    assert "10000000" in results[22]["error"]["error"]["message"]
    assert "4 failed:" in done.stdout
    assert "such as record" in done.stdout
    totals = api.totals()
    assert (totals["billed"], totals["billed_twice"]) == (19, 0)

    api.clear()
    before = api.totals()["accepted"]
    machine.write(20)
    machine.write(3, start=20, mode="a", max_tokens=65)
    refused = machine.run("run", "in.jsonl", "-o", "out.jsonl")
    assert refused.returncode == 2
    assert "--update" in refused.stderr
    assert api.totals()["accepted"] == before

    updated = machine.run("run", "in.jsonl", "-o", "out.jsonl", "--update", "--retry-failed")
    assert updated.returncode == 0, updated.stdout + updated.stderr
    assert api.totals()["accepted"] == before + 4
    machine.check_answers()
    assert machine.lines()[3]["attempts"] >= 2


def test_children_that_die_are_restarted_and_the_job_ends(machine, api):
    api.options({"batch_seconds": 300})
    machine.write(300)
    process = machine.start("run", "in.jsonl", "-o", "out.jsonl")
    wait_until(
        lambda: any(batch.state == BatchState.IN_PROGRESS for batch in machine.batches()), "a batch is in flight"
    )
    for role in ("control", "transfer", "beat"):
        doomed = [int(file.suffix[1:]) for file in (machine.home / ".bakehouse" / "health").glob(f"{role}.*")]
        assert doomed, role
        for pid in doomed:
            os.kill(pid, signal.SIGKILL)
    for victim in ("local.crew", embedded.find_binary().name):
        parents = [each for each in machine.left_running() if victim in " ".join(each.cmdline())]
        assert parents, victim
        min(parents, key=lambda each: each.create_time()).kill()
    assert process.wait(LIMIT_OF_A_RUN) == 0, (machine.home / "output.txt").read_text()
    machine.check_answers()
    assert api.totals()["accepted_twice"] == 0
