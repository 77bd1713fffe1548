"""An API that takes product reviews, and tells what a model makes of each once the answer is there. See README.md."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import uvicorn
from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel, Field

from bakehouse import InboxFull, InboxUnavailable, aio

TASK = "Classify the sentiment of this product review as positive, negative or mixed. Answer with that one word.\n\nReview: "
JOB = "reviews"

app = FastAPI(title="Reviews")


class Review(BaseModel):
    text: str = Field(min_length=1, max_length=10_000, examples=["Great lamp, sturdy, and it arrived a day early."])


class Answer(BaseModel):
    id: str
    status: str = Field(description="waiting; then succeeded, failed, canceled or rejected")
    sentiment: str | None = None
    error: str | None = None


@app.post("/reviews", status_code=202)
async def take_review(review: Review) -> Answer:
    """Take a review. Its answer comes with a batch, not with this response: ask for it by the id."""
    messages = [{"role": "user", "content": TASK + review.text}]
    try:
        receipt = await aio.enqueue_record(
            {"model": "claude-haiku-5-5", "max_tokens": 16, "messages": messages}, job=JOB
        )
    except (InboxFull, InboxUnavailable) as error:
        raise HTTPException(503, "Not now; try again in a minute.", {"Retry-After": "60"}) from error
    return Answer(id=receipt.custom_id, status="waiting")


@app.get("/reviews/{id}", responses={202: {"model": Answer, "description": "Not there yet"}})
async def read_answer(id: str, response: Response) -> Answer:  # noqa: A002 - as in the path
    """Tell the answer. 202 until it is there."""
    outcome = await aio.get_outcome(id, job=JOB)
    if outcome is None:
        response.status_code = 202
        response.headers["Retry-After"] = "1"
        return Answer(id=id, status="waiting")
    error = outcome.error.type if outcome.error else None
    return Answer(id=id, status=outcome.status, sentiment=outcome.text or None, error=error)


def main() -> None:
    """Run all of it on this machine, against the emulator, until Ctrl-C. In production only the API runs here: README.md."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` is Ctrl-C, too
    system = [sys.executable, "-m", "bakehouse_worker", "up", "--emulator", "--flower-port", "0"]
    with subprocess.Popen(system, stdout=subprocess.PIPE, text=True, start_new_session=True) as up:
        try:
            if up.stdout and up.stdout.readline():  # it says so when it is up; if it cannot, it has said why
                uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
        except KeyboardInterrupt:
            pass
        finally:
            up.terminate()


if __name__ == "__main__":
    main()
