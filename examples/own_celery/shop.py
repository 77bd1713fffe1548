"""A shop with a Celery app of its own: a task in the shop's own worker is told of every answer, and reads it. See README.md."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from celery import Celery

from bakehouse import ConfigurationError, enqueue_record, get_outcome

TICKETS = {
    "ticket-41": "I was charged twice for the same invoice.",
    "ticket-42": "The tracking says delivered but no parcel is here.",
    "ticket-43": "The app freezes on loading since the last update.",
}
TASK = "Route this support ticket to billing, shipping, technical or account. Answer with that one word.\n\nTicket: "

app = Celery("shop", broker=os.environ.get("SHOP_BROKER_URL", "filesystem://"))
app.conf.task_default_queue = "shop"
if app.conf.broker_url == "filesystem://":  # for trying, without a server; a shop has a Redis or a RabbitMQ
    folders = ("data_folder_in", "data_folder_out", "control_folder")
    app.conf.broker_transport_options = dict.fromkeys(folders, "shop-messages")
    Path("shop-messages").mkdir(exist_ok=True)


@app.task(name="shop.save", acks_late=True, autoretry_for=(ConfigurationError,), retry_backoff=True)
def save(job: str, custom_id: str, status: str, delivery_id: str) -> None:
    """Write an answer down. The message has ids alone, and may come twice: the second time, the same row is written again."""
    outcome = get_outcome(custom_id, job=job)
    if outcome is None:
        return  # it was sent again since, by `bakehouse dead requeue`: another message follows
    with table() as connection:
        connection.execute("INSERT OR REPLACE INTO route VALUES (?, ?, ?)", (custom_id, status, outcome.text))


@contextmanager
def table() -> Generator[sqlite3.Connection]:
    """The shop's own table, in one transaction."""
    with closing(sqlite3.connect("shop.sqlite", timeout=30)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS route (ticket TEXT PRIMARY KEY, status TEXT, queue TEXT)")
        yield connection


def main() -> None:
    """Enqueue the tickets; those that were enqueued before are the same records. Then say what is known of each."""
    for ticket, text in TICKETS.items():
        params = {"model": "claude-haiku-5-5", "max_tokens": 16, "messages": [{"role": "user", "content": TASK + text}]}
        enqueue_record(params, custom_id=ticket, job="routing", on_result="task:shop.save@shop")
    with table() as connection:
        known = {ticket: queue or status for ticket, status, queue in connection.execute("SELECT * FROM route")}
    for ticket in TICKETS:
        print(ticket, known.get(ticket, "waiting"))


if __name__ == "__main__":
    main()
