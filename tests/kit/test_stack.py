"""`bakehouse_stack` as users meet it: in a pytest of its own, with real workers that import the application."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from journey_machine import wait_until

pytest_plugins = ("pytester",)

RUN = ("-p", "bakehouse.testing", "-p", "no:cacheprovider", "--durations=0", "-vv")


def run(project: pytest.Pytester, tests: str, **outcomes: int) -> pytest.RunResult:
    project.makepyfile(test_triage=tests)
    result = project.runpytest_subprocess(*RUN)  # prints what each test took
    result.assert_outcomes(**outcomes)
    assert left_of(result.stdout.str()) == []
    return result


def left_of(printed: str) -> list[psutil.Process]:
    """Processes of stacks whose directories were printed, and directories that are still there."""
    homes = set(re.findall(r"/\S*/bakehouse-test-\w+", printed))
    return [home for home in homes if Path(home).exists()] + [each for home in homes for each in working_on(home)]


def working_on(home: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "environ", "status"]):
        words = [*(process.info["cmdline"] or ()), (process.info["environ"] or {}).get("BAKEHOUSE_DATA_DIR", "")]
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(home in word for word in words):
            found.append(process)
    return found


def test_an_application_is_tested_through_workers_handlers_and_an_emulator_that_says_what_the_test_scripts(project):
    run(
        project,
        """
        import os, pytest, triage
        from bakehouse import get_outcome, job, wait

        @pytest.fixture(autouse=True)
        def told(bakehouse_stack):
            print(bakehouse_stack.home)

        def test_answers_failures_and_refusals(bakehouse_stack):
            bakehouse_stack.answer("charged twice", "billing")
            bakehouse_stack.answer("Größe", "größer")
            bakehouse_stack.fail("nobody may ask this", message="no")
            bakehouse_stack.fail("busy", type="overloaded_error", times=1)
            bakehouse_stack.answer("busy", "second time")
            bakehouse_stack.refuse("dangerous")
            for number, text in enumerate(
                ["I was charged twice", "Größe?", "nobody may ask this", "busy", "dangerous"], start=1
            ):
                triage.ask(number, text)
            bakehouse_stack.drain()
            assert triage.labels() == [
                ("ticket-1", "billing"),
                ("ticket-2", "größer"),
                ("ticket-3", "no answer: invalid_request_error"),
                ("ticket-4", "second time"),
                ("ticket-5", ""),
            ]
            assert (bakehouse_stack.sent("busy"), bakehouse_stack.billed("busy")) == (2, 1)
            assert (bakehouse_stack.sent(), bakehouse_stack.billed()) == (6, 4)

        def test_the_same_custom_id_asks_something_else_here_and_nothing_is_scripted_any_more(bakehouse_stack):
            assert get_outcome("ticket-1", job="triage") is None
            receipt = triage.ask(1, "it broke: charged twice")
            [outcome] = wait(receipt, timeout=20)
            assert outcome.text.startswith("answer to ")
            assert get_outcome("ticket-1", job="triage").text == outcome.text
            assert job("triage").progress().succeeded == 1
            bakehouse_stack.drain()
            [(custom_id, label)] = triage.labels()
            assert custom_id == "ticket-1" and label.startswith("answer to ")
            assert bakehouse_stack.sent() == 1

        def test_batches_that_are_held_end_when_they_are_released(bakehouse_stack):
            bakehouse_stack.hold()
            triage.ask(1, "charged twice")
            with pytest.raises(TimeoutError, match="triage"):
                bakehouse_stack.drain(timeout=1.0)
            assert triage.labels() == []
            bakehouse_stack.release()
            bakehouse_stack.drain()
            assert len(triage.labels()) == 1

        def test_a_script_that_makes_no_sense_is_refused(bakehouse_stack):
            with pytest.raises(ValueError, match="stop_reason"):
                bakehouse_stack.answer("x", "y", stop_reason="tired")
            with pytest.raises(ValueError, match="times"):
                bakehouse_stack.answer("x", "y", times=-1)
        """,
        passed=4,
    )


def test_what_a_handler_raised_is_shown_with_its_traceback(project):
    result = run(
        project,
        """
        import triage

        def test_gibberish(bakehouse_stack):
            print(bakehouse_stack.home)
            bakehouse_stack.answer("", "gibberish")
            triage.ask(42, "charged twice")
            bakehouse_stack.drain()
        """,
        failed=1,
    )
    result.stdout.fnmatch_lines(
        [
            "*HandlerFailed: 1 outcome was given up by its handler",
            "*triage:save raised 5 times:",
            '*triage.py", line *, in save',
            "*ValueError: ticket-42: no such label",
        ]
    )


def test_a_stack_that_does_not_come_up_says_why(project):
    result = run(
        project,
        """
        import pytest

        @pytest.fixture
        def bakehouse_settings():
            return {"BAKEHOUSE_IMPORTS": "triage,nowhere.to_be_found"}

        def test_it(bakehouse_stack):
            raise AssertionError("not reached")
        """,
        errors=1,
    )
    result.stdout.fnmatch_lines(
        [
            "*StackUnavailable: the test's Bakehouse stack did not come up: deliver ended at its start",
            "*--- deliver.log",
            "*BAKEHOUSE_IMPORTS: nowhere.to_be_found cannot be imported*",
        ]
    )


def test_nothing_outlives_a_test_run_that_is_killed(project):
    project.makepyfile(
        test_triage="""
        import time, triage

        def test_it(bakehouse_stack):
            triage.ask(1, "charged twice")
            bakehouse_stack.drain()
            print(f"up {bakehouse_stack.home}", flush=True)
            time.sleep(600)
        """
    )
    process = project.popen(
        [sys.executable, "-m", "pytest", "-s", *RUN], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        home = next(line for line in process.stdout if b"up /" in line).decode().rpartition("up ")[2].strip()
        home = str(Path(home).parent)
        assert len(working_on(home)) >= 6  # server, emulator, beat, three workers
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    wait_until(lambda: not working_on(home), "all processes have ended", 20)
    wait_until(lambda: not Path(home).exists(), "the data directory is gone", 20)


def test_an_order_that_is_committed_goes_through_the_outbox_and_one_that_is_rolled_back_does_not(project):
    run(
        project,
        """
        import pytest, triage
        from bakehouse import enqueue_record
        from bakehouse.outbox import create_outbox
        from sqlalchemy import create_engine
        from sqlalchemy.orm import Session

        @pytest.fixture
        def engine(tmp_path):
            engine = create_engine(f"sqlite:///{tmp_path / 'shop.sqlite'}")
            create_outbox(engine)
            yield engine
            engine.dispose()

        @pytest.fixture
        def bakehouse_settings(engine):
            return {"BAKEHOUSE_OUTBOX_URL": str(engine.url)}

        def test_orders(bakehouse_stack, engine):
            print(bakehouse_stack.home)
            with Session(engine) as session:
                enqueue_record(triage.params("one"), custom_id="1", on_result="triage:save", session=session)
                session.rollback()
                enqueue_record(triage.params("two"), custom_id="2", on_result="triage:save", session=session)
                session.commit()
            bakehouse_stack.drain()
            assert [custom_id for custom_id, _ in triage.labels()] == ["2"]
        """,
        passed=1,
    )


def test_a_stack_is_led_to_by_nothing_but_itself_whatever_the_environment_says(project, monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_REDIS_URL", "redis://production.invalid")
    monkeypatch.setenv("BAKEHOUSE_DATABASE_URL", "postgresql://production.invalid/shop")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://api.anthropic.com")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a real key")
    (project.path / ".env").write_text("BAKEHOUSE_DATABASE_URL=postgresql://production.invalid/shop\n")
    run(
        project,
        """
        import os, triage

        def test_it(bakehouse_stack):
            print(bakehouse_stack.home)
            triage.ask(1, "charged twice")
            bakehouse_stack.drain()
            assert bakehouse_stack.billed("charged twice") == 1
            assert os.environ["ANTHROPIC_BASE_URL"] == bakehouse_stack.api_url
        """,
        passed=1,
    )
