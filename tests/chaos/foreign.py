"""Other software in the same workspace, whose batches look like ours in the API's list."""

from __future__ import annotations

from urllib.request import Request, urlopen

import orjson
from sqlalchemy import select

from bakehouse_worker.states import SubmissionState
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Submission, table

_submission = table(Submission)


def in_doubt(database: Database) -> set[tuple[int, int]]:
    """Submissions whose answer is not known, each with the count of its requests."""
    doubtful = _submission.c.state == SubmissionState.IN_DOUBT
    with database.read() as connection:
        return {(row.id, row.requests) for row in connection.execute(select(_submission).where(doubtful))}


def send(url: str, number: int, requests: int) -> bool:
    """Send a batch of so many requests; tells whether the API answered that it has it."""
    params = {"model": "claude-haiku-5-5", "max_tokens": 16}
    lines = [
        {
            "custom_id": f"{each}",
            "params": {**params, "messages": [{"role": "user", "content": f"not ours {number} {each}"}]},
        }
        for each in range(requests)
    ]
    headers = {"x-api-key": "key", "anthropic-version": "2023-06-01", "content-type": "application/json"}
    body = orjson.dumps({"requests": lines})
    try:
        with urlopen(Request(f"{url}/v1/messages/batches", body, headers), timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
