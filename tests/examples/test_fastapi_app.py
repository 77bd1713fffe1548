"""examples/fastapi_app: one command, and then curl, as its page says."""

from __future__ import annotations

import json
import re
import signal

import pytest
from cluster import free_port
from journey_machine import wait_until


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupted", "terminated"])
def test_one_command_takes_a_review_and_gives_its_answer_later_and_leaves_nothing_running(follow, number):
    reader, port = follow("fastapi_app"), str(free_port())
    start, ask, _production = reader.blocks()
    reader.start("api", start, "Uvicorn running", PORT=port)
    taken = reader.run(ask.replace("8000", port))
    assert taken.startswith("HTTP/1.1 202")
    answer = json.loads(taken.splitlines()[-1])
    shown = json.loads(re.search(r"^\{.*waiting.*\}$", "".join(reader.blocks("text")), re.MULTILINE)[0])
    assert {**answer, "id": shown["id"]} == shown

    def read(name=answer["id"]):
        head, _, body = reader.run(f"curl -s -i http://127.0.0.1:{port}/reviews/{name}").partition("\n\n")
        return head.split()[1], "retry-after" in head.lower(), json.loads(body)

    assert read() == ("202", True, answer)
    wait_until(lambda: read()[0] == "200", "the answer is there")
    shown = json.loads(re.search(r"^\{.*succeeded.*\}$", "".join(reader.blocks("text")), re.MULTILINE)[0])
    assert read() == ("200", False, {**shown, "id": answer["id"]})
    assert read("never-given-out")[0] == "202"
    assert "/reviews/{id}" in reader.run(f"curl -sf http://127.0.0.1:{port}/docs http://127.0.0.1:{port}/openapi.json")
    reader.interrupt("api", number=number)
    wait_until(lambda: not reader.running(), "the API and the system have ended", 15)


@pytest.mark.slow
def test_in_production_the_api_runs_alone_without_a_key_beside_workers_elsewhere(follow, running_system):
    reader, port = follow("fastapi_app"), free_port()
    settings = {"BAKEHOUSE_DATA_DIR": str(running_system), "ANTHROPIC_API_KEY": ""}
    api = f"cd examples/fastapi_app && exec uvicorn app:app --port {port}"
    reader.start("api", api, "Uvicorn running", **settings)
    post = f"""curl -s http://127.0.0.1:{port}/reviews --json '{{"text": "It broke."}}'"""
    found = json.loads(reader.run(post))["id"]
    wait_until(lambda: "negative" in reader.run(f"curl -s http://127.0.0.1:{port}/reviews/{found}"), "it is there")


def test_while_redis_is_away_the_api_says_503_and_when_to_try_again(follow):
    reader, port = follow("fastapi_app"), free_port()
    api = f"cd examples/fastapi_app && exec uvicorn app:app --port {port}"
    reader.start("api", api, "Uvicorn running", BAKEHOUSE_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    told = reader.run(f"""curl -s -i http://127.0.0.1:{port}/reviews --json '{{"text": "It broke."}}'""")
    assert told.startswith("HTTP/1.1 503")
    assert "retry-after: 60" in told.lower()
