"""Every evening at 18:00 a model looks at the posts of a forum that nobody has looked at yet. See README.md."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from celery import Celery
from celery.schedules import crontab

from bakehouse import Outcome, enqueue_records, handler

POSTS = {
    1: "My tomatoes turn yellow from below. Too much water?",
    2: "Buy now!!! Fertiliser at half the price: MIRACLE-GROW.example",
    3: "Yellow leaves are mostly a lack of magnesium; try Epsom salt.",
    4: "Whoever kills slugs should be banned from every garden.",
}
TASK = "Is this post fit for a forum on gardening? Answer with one word, keep or hide.\n\nPost: "

app = Celery("sweep", broker=os.environ.get("FORUM_BROKER_URL", "filesystem://"))
every_evening = {"task": "sweep.sweep", "schedule": crontab(hour=18, minute=0)}
app.conf.update(timezone="UTC", beat_schedule={"every evening": every_evening})
if app.conf.broker_url == "filesystem://":  # for trying, without a server; a forum has a Redis or a RabbitMQ
    folders = ("data_folder_in", "data_folder_out", "control_folder")
    app.conf.broker_transport_options = dict.fromkeys(folders, "forum-messages")
    Path("forum-messages").mkdir(exist_ok=True)


@app.task(name="sweep.sweep")
def sweep() -> int:
    """Enqueue every post without a verdict. One that is under way already is the same record, and is not sent again."""
    with forum() as connection:
        posts = connection.execute("SELECT id, text FROM post WHERE verdict IS NULL ORDER BY id")
        return enqueue_records((record(post, text) for post, text in posts), job="moderation")


def record(post: int, text: str) -> dict[str, Any]:
    """What is asked about a post."""
    params = {"model": "claude-haiku-5-5", "max_tokens": 16, "messages": [{"role": "user", "content": TASK + text}]}
    return {"custom_id": f"post-{post}", "params": params, "on_result": "sweep:mark", "metadata": {"post": post}}


@handler(spans=True)
def mark(outcomes: list[Outcome]) -> None:
    """Write down what came, many in one transaction. Called again with the same outcomes, it writes the same verdicts."""
    with forum() as connection:
        verdicts = [(verdict(each), each.metadata["post"]) for each in outcomes]
        connection.executemany("UPDATE post SET verdict = ? WHERE id = ?", verdicts)


def verdict(outcome: Outcome) -> str:
    """keep or hide; ask for anything else, a failure too: a person decides."""
    word = outcome.text.strip(" .\n").lower()
    return word if word in ("keep", "hide") else "ask"


@contextmanager
def forum() -> Generator[sqlite3.Connection]:
    """The forum's own database, in one transaction."""
    with closing(sqlite3.connect("forum.sqlite", timeout=30)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS post (id INTEGER PRIMARY KEY, text TEXT, verdict TEXT)")
        yield connection


if __name__ == "__main__":
    with forum() as connection:
        connection.executemany("INSERT OR IGNORE INTO post VALUES (?, ?, NULL)", POSTS.items())
        for post, text, found in connection.execute("SELECT id, text, verdict FROM post ORDER BY id"):
            print(post, found or "-", text)
