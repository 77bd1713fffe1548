"""The usual way: one Celery task per result, which decodes it, stores it (SQLite, WAL, FULL) and hands it to a function."""

from __future__ import annotations

import os
from functools import lru_cache

import orjson
from celery import Celery

from bakehouse_worker.store.database import sqlite_driver

app = Celery("one_task", broker=os.environ.get("ONE_TASK_BROKER", ""))
app.conf.task_ignore_result = True


@lru_cache(maxsize=1)
def store():
    made = sqlite_driver().connect(os.environ["ONE_TASK_STORE"], timeout=30, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        made.execute(f"PRAGMA {pragma}")
    made.execute("CREATE TABLE IF NOT EXISTS result (custom_id TEXT PRIMARY KEY, line BLOB)")
    return made


@app.task(name="take")
def take(line: str) -> None:
    fields = orjson.loads(line)
    store().execute("INSERT OR IGNORE INTO result VALUES (?, ?)", (fields["custom_id"], line.encode()))
    assert fields["result"]["message"]["content"][0]["text"]
