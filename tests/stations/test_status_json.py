"""`status --json`: exactly what docs/status.md says, as one document or as lines; `--watch` ends well."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import scenes
from journey_machine import interruptible

from bakehouse_worker import relay, status
from bakehouse_worker.cli import watching

PAGE = (Path(__file__).parents[2] / "docs" / "status.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \|", re.MULTILINE)
DOCUMENTED = {key: set(types.strip().split(" or ")) for key, types in ROW.findall(PAGE)}
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null", dict: "object"}
DAY = 86_400.0


def keys(value, path=""):
    """Every key of a document with the name of its value's type; names that depend on the installation are `*`."""
    if isinstance(value, dict):
        for name, each in value.items():
            name = name if f"{path}.*" not in DOCUMENTED else "*"
            below = f"{path}.{name}".lstrip(".")
            yield below, _type(each)
            yield from keys(each, below)
    elif isinstance(value, list):
        for each in value:
            yield from keys(each, f"{path}[]")


def _type(value):
    if isinstance(value, list):
        plain = {TYPES[type(each)] for each in value} - {"object"}
        return f"array of {plain.pop()}s" if plain else "array"
    return TYPES[type(value)]


def taken(world, **more):
    return json.loads(status.as_json(status.take(world.runtime), **more))


@pytest.fixture
def world(make_world, monkeypatch):
    made = make_world(**scenes.SETTINGS)
    yield made
    monkeypatch.setattr(made, "books_agree", lambda: None)  # what is entered by hand below does not


def test_the_keys_that_come_out_are_exactly_those_of_the_page(world):
    empty = list(keys(taken(world)))
    scenes.in_trouble(world)
    early = list(keys(taken(world)))
    world.clock.now += 27.5 * DAY
    scenes.change(
        world,
        "INSERT INTO submission (batch_id, nonce, state, requests, origin, workspace, started_at, confirmed, remote_id) "
        "VALUES (1, 'n', 'late', 14, 'o', 'w', 1, true, 'msgbatch_late')",
    )
    world.runtime = world.worker(outbox_url="sqlite:////nowhere/app.db")
    relay.is_due(world.runtime)
    found = [*empty, *early, *keys(taken(world))]
    assert {key for key, _ in found} == set(DOCUMENTED)
    for key, kind in found:
        allowed = DOCUMENTED[key] | ({"array"} if "array of" in "".join(DOCUMENTED[key]) else set())
        assert kind in allowed, f"{key} is {kind}, and the page says {DOCUMENTED[key]}"


def test_the_example_of_the_page_has_the_keys_of_the_page():
    example = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
    assert {key for key, _ in keys(example)} == set(DOCUMENTED)
    assert example["version"] == status.page.VERSION


def started(world, *words, stdout):
    argv = [sys.executable, "-m", "bakehouse_worker", "status", "--watch", *words]
    return subprocess.Popen(
        argv,
        env=scenes.environment(world),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )


def test_watched_as_json_it_prints_a_document_per_line_until_an_interrupt(world):
    world.enqueue(2)
    world.tick()
    with started(world, "--json", stdout=subprocess.PIPE) as process:
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert [json.loads(line)["version"] for line in lines] == [1, 1]
    assert (process.returncode, errors) == (0, "")


def test_watched_on_a_terminal_the_screen_is_written_over_and_never_cleared_again(world):
    ours, theirs = pty.openpty()
    with started(world, stdout=theirs) as process:
        seen = b""
        while seen.count(b"\x1b[H") < 3:
            seen += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    os.close(theirs)
    os.close(ours)
    assert (process.returncode, errors) == (0, "")
    assert seen.count(b"\x1b[2J") == 1
    assert b"batches  none open" in seen


def test_a_screen_that_is_too_low_says_how_much_it_does_not_show():
    told = watching.frame([f"line {number}" for number in range(30)], 10).splitlines()
    assert len(told) == 10
    assert told[8].startswith("... 22 more lines")
    assert watching.frame(["one"], 10) == "\x1b[Hone\x1b[K\n\x1b[J"
