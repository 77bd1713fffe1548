"""`bakehouse_outbox` as users meet it: in a pytest of its own, on a machine without any server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest_plugins = ("pytester",)

#: From a source tree there is no entry point: the plugin is named.
PLUGIN = ("-p", "bakehouse.testing")


@pytest.fixture
def without_servers(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project where nothing is on PATH, and where a test fails that starts a process or opens a socket."""
    monkeypatch.setenv("PATH", "")
    project.makeconftest(
        (project.path / "conftest.py").read_text()
        + """
import socket, subprocess, sys

def refused(*_, **__):
    raise AssertionError("a server was asked for")

@pytest.fixture(autouse=True)
def nothing_but_python(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    yield
    assert not {"bakehouse_worker", "bakehouse_emulator"} & sys.modules.keys()
"""
    )
    return project


def passes(project: pytest.Pytester, tests: str, *, passed: int = 1, failed: int = 0) -> pytest.RunResult:
    project.makepyfile(test_triage=tests)
    result = project.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(passed=passed, failed=failed)
    return result


def test_it_captures_a_record_with_everything_that_was_said_of_it(without_servers):
    passes(
        without_servers,
        """
        import triage

        def test_ask(bakehouse_outbox):
            receipt = triage.ask(42, "charged twice")
            assert (receipt.job, receipt.custom_id) == ("triage", "ticket-42")
            record = bakehouse_outbox.only()
            assert (record.job, record.custom_id, record.priority) == ("triage", "ticket-42", 5)
            assert (record.betas, record.on_result) == (("output-300k-2026-03-24",), "triage:save")
            assert (record.metadata, record.prompt) == ({"ticket": 42}, "charged twice")
            assert record.params == triage.params("charged twice")
            assert record.api_version == "2026-10-21"
        """,
    )


def test_it_captures_many_records_by_whatever_client_and_what_is_said_of_their_job(without_servers):
    passes(
        without_servers,
        """
        import triage
        from bakehouse import Client, enqueue_record

        def test_ask_all(bakehouse_outbox):
            triage.ask_all({n: f"text {n}" for n in range(1200)})
            Client("redis://elsewhere.invalid").enqueue_record(triage.params("x"), custom_id="last")
            assert bakehouse_outbox.custom_ids == [*(f"ticket-{n}" for n in range(1200)), "last"]
            assert bakehouse_outbox.ahead == {"sweep": 1}
            assert bakehouse_outbox.closed == {"sweep": 1200}
            bakehouse_outbox.clear()
            assert not (bakehouse_outbox.records or bakehouse_outbox.closed or bakehouse_outbox.ahead)

        def test_nothing_is_left_for_the_next_test(bakehouse_outbox):
            assert bakehouse_outbox.records == []
        """,
        passed=2,
    )


def test_records_of_a_session_are_captured_when_it_commits(without_servers):
    passes(
        without_servers,
        """
        import pytest, triage
        from bakehouse import InvalidRecord, enqueue_record
        from sqlalchemy import create_engine, text
        from sqlalchemy.orm import Session

        def put(session, custom_id):
            session.execute(text("SELECT 1"))
            enqueue_record(triage.params("x"), custom_id=custom_id, session=session)

        def test_committed_or_not(bakehouse_outbox):
            with Session(create_engine("sqlite://")) as session:
                put(session, "rolled back")
                session.rollback()
                put(session, "committed")
                with session.begin_nested():
                    put(session, "in a savepoint")
                savepoint = session.begin_nested()
                with session.begin_nested():
                    put(session, "in a savepoint that is rolled back")
                savepoint.rollback()
                assert bakehouse_outbox.records == []
                session.commit()
                assert bakehouse_outbox.custom_ids == ["committed", "in a savepoint"]
                put(session, "left behind")
                session.close()
                put(session, "after it")
                session.commit()
            assert bakehouse_outbox.custom_ids == ["committed", "in a savepoint", "after it"]

        def test_within_a_transaction_of_the_test(bakehouse_outbox):
            with create_engine("sqlite://").connect() as connection, connection.begin() as outer:
                with Session(connection, join_transaction_mode="create_savepoint") as session:
                    put(session, "committed")
                    session.commit()
                assert bakehouse_outbox.custom_ids == ["committed"]
                outer.rollback()

        shared = Session(create_engine("sqlite://"))  # as a fixture of the whole run, or a scoped_session, is

        @pytest.mark.parametrize("turn", ["first", "second"])
        def test_in_a_session_that_several_tests_use(bakehouse_outbox, turn):
            put(shared, turn)
            shared.commit()
            assert bakehouse_outbox.custom_ids == [turn]

        def test_what_is_no_session(bakehouse_outbox):
            with pytest.raises(InvalidRecord, match="session"):
                enqueue_record(triage.params("x"), session="no session")
        """,
        passed=5,
    )


def test_a_client_that_was_made_before_is_captured_too_and_durable_calls(without_servers):
    passes(
        without_servers,
        """
        import pytest, triage
        from bakehouse import Client, ConfigurationError

        client = Client()

        def test_made_before(bakehouse_outbox):
            client.enqueue_record(triage.params("x"), custom_id="a", durable=True)
            assert bakehouse_outbox.only().custom_id == "a"

        def test_and_goes_its_own_way_afterwards():
            with pytest.raises(ConfigurationError, match="bakehouse up"):
                client.enqueue_record(triage.params("x"))
        """,
        passed=2,
    )


def test_an_invalid_record_is_still_refused(without_servers):
    passes(
        without_servers,
        """
        import pytest, triage
        from bakehouse import InvalidRecord, enqueue_record

        def test_refused(bakehouse_outbox):
            with pytest.raises(InvalidRecord, match="params.max_tokens"):
                enqueue_record(triage.params("x") | {"max_tokens": 0})
            assert bakehouse_outbox.records == []
        """,
    )


def test_a_captured_record_is_answered_and_its_handler_called(without_servers):
    passes(
        without_servers,
        """
        import pytest, triage

        def test_answered(bakehouse_outbox):
            triage.ask(1, "charged twice")
            triage.ask(2, "it broke")
            outcome = bakehouse_outbox.answer("ticket-1", text="billing")
            assert (outcome.status, outcome.text, outcome.metadata) == ("succeeded", "billing", {"ticket": 1})
            bakehouse_outbox.answer(bakehouse_outbox.records[1], error="invalid_request_error")
            assert triage.labels() == [("ticket-1", "billing"), ("ticket-2", "no answer: invalid_request_error")]

        def test_what_a_handler_raises_is_raised(bakehouse_outbox):
            triage.ask(1, "charged twice")
            with pytest.raises(ValueError, match="ticket-1: no such label"):
                bakehouse_outbox.answer("ticket-1", text="gibberish")
        """,
        passed=2,
    )


def test_handlers_of_spans_and_of_transactions_get_what_they_take(without_servers):
    without_servers.makepyfile(
        handlers="""
        from bakehouse.handlers import handler

        seen = []

        @handler(spans=True)
        def many(outcomes):
            seen.extend(outcome.custom_id for outcome in outcomes)

        @handler(transaction=True)
        def inside(outcome, session):
            seen.append((outcome.custom_id, session))
        """
    )
    passes(
        without_servers,
        """
        import pytest, handlers, triage
        from bakehouse import enqueue_record

        def test_called(bakehouse_outbox):
            enqueue_record(triage.params("x"), custom_id="a", on_result="handlers:many")
            enqueue_record(triage.params("x"), custom_id="b", on_result="handlers:inside")
            enqueue_record(triage.params("x"), custom_id="c", on_result="handlers:nowhere")
            bakehouse_outbox.answer("a")
            bakehouse_outbox.answer("b", session="mine")
            assert handlers.seen == ["a", ("b", "mine")]
            with pytest.raises(AssertionError, match="takes a session"):
                bakehouse_outbox.answer("b")
            with pytest.raises(AssertionError, match="handlers:nowhere.*names nothing"):
                bakehouse_outbox.answer("c")
        """,
    )


def test_one_record_too_many_is_told_with_what_there_is(without_servers):
    result = passes(
        without_servers,
        """
        import triage

        def test_too_many(bakehouse_outbox):
            triage.ask(1, "x")
            triage.ask(2, "y")
            bakehouse_outbox.only()
        """,
        passed=0,
        failed=1,
    )
    result.stdout.fnmatch_lines(["*expected one record, but 2 were enqueued:", "*'ticket-1' in job 'triage'"])


def test_outcomes_made_by_hand_look_as_the_api_writes_them(without_servers):
    passes(
        without_servers,
        """
        import pytest
        from bakehouse import Outcome
        from bakehouse.testing import make_outcome

        def test_made():
            good = make_outcome(text="billing", custom_id="a", metadata={"ticket": 1})
            assert isinstance(good, Outcome) and good.text == "billing" and good.stop_reason == "end_turn"
            assert good.result["message"]["usage"]["output_tokens"] == good.usage.output_tokens
            assert good.message.content[0].text == "billing"
            bad = make_outcome(error="overloaded_error", attempts=5)
            assert (bad.status, bad.text, bad.error.type, bad.attempts) == ("failed", "", "overloaded_error", 5)
            assert bad.result["error"]["error"]["type"] == "overloaded_error"
            assert make_outcome(error="expired").result == {"type": "expired"}
            assert make_outcome(status="canceled").result == {"type": "canceled"}
            assert make_outcome(status="rejected", error="rejected").raw == b""
            for wrong in ({"status": "done"}, {"status": "failed"}, {"status": "succeeded", "error": "expired"}):
                with pytest.raises(ValueError, match="status"):
                    make_outcome(**wrong)
        """,
    )


@pytest.mark.parametrize("words", [(), PLUGIN], ids=["by itself", "and by -p"])
def test_where_bakehouse_is_installed_the_plugin_is_there_by_itself(without_servers, monkeypatch, words):
    site = installed(without_servers.path)
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ['PYTHONPATH']}")
    without_servers.makepyfile(
        test_triage="""
        import sys

        def test_nothing_of_the_kit_is_imported_before_it_is_asked_for():
            kit = {name for name in sys.modules if name.startswith("bakehouse.testing")}
            assert kit == {"bakehouse.testing"}

        def test_fixture(bakehouse_outbox):
            assert bakehouse_outbox.records == []
        """
    )
    without_servers.runpytest_subprocess(*words).assert_outcomes(passed=2)


def installed(home: Path) -> Path:
    """Write what an installation leaves in site-packages about the entry point, from pyproject.toml's own words."""
    import tomllib

    points = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["entry-points"]
    info = home / "site" / "bakehouse-0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bakehouse\nVersion: 0.0\n")
    lines = [f"{name} = {value}" for name, value in points["pytest11"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]) + "\n")
    return info.parent


def test_the_rest_of_bakehouse_does_not_import_the_kit(project):
    result = project.run(
        sys.executable,
        "-c",
        "import bakehouse, sys; print([n for n in sys.modules if n.startswith(('bakehouse.testing', 'pytest'))])",
    )
    assert result.outlines == ["[]"]
