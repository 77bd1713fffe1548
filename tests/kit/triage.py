"""The application that the kit's tests test: it asks about tickets, and writes down what the answers say."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from bakehouse import Client, Outcome, Receipt, enqueue_record, enqueue_records


def params(text: str) -> dict[str, object]:
    return {"model": "claude-haiku-5-5", "max_tokens": 16, "messages": [{"role": "user", "content": text}]}


def ask(number: int, text: str) -> Receipt:
    return enqueue_record(
        params(text),
        custom_id=f"ticket-{number}",
        job="triage",
        priority=5,
        betas=["output-300k-2026-03-24"],
        on_result="triage:save",
        metadata={"ticket": number},
    )


def ask_all(texts: dict[int, str]) -> None:
    client = Client()
    client.send_ahead("sweep", 1)
    enqueue_records(({"custom_id": f"ticket-{n}", "params": params(text)} for n, text in texts.items()), job="sweep")
    client.close("sweep", expected=len(texts))


def save(outcome: Outcome) -> None:
    """Write a label down; one that nobody knows is a mistake."""
    label = outcome.text if outcome.error is None else f"no answer: {outcome.error.type}"
    if label == "gibberish":
        raise ValueError(f"{outcome.custom_id}: no such label")
    with table() as connection:
        connection.execute("INSERT INTO label VALUES (?, ?)", (outcome.custom_id, label))


def labels() -> list[tuple[str, str]]:
    with table() as connection:
        return connection.execute("SELECT custom_id, label FROM label ORDER BY custom_id").fetchall()


@contextmanager
def table() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(os.environ["TRIAGE_DATABASE"])) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS label (custom_id TEXT PRIMARY KEY, label TEXT)")
        yield connection
