"""The records of a scenario, and what the ledger and the store must say of them in the end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from chaos.plan import Plan

from bakehouse_emulator import Running
from bakehouse_emulator.models import OFFERED
from bakehouse_worker.states import TERMINAL
from bakehouse_worker.store import outcomes, reading
from bakehouse_worker.store.database import Database

JOBS = 3
#: The models that records name, if a plan names more than one.
MODELS = ("claude-haiku-5-5", *(each.id for each in OFFERED if not each.retired and each.id != "claude-haiku-5-5"))
#: Of so many records one is "shaky" and one "poison": what a rule may do to them, it may do to no other.
SHAKY, POISON = 40, 600
#: Of so many records one has a handler.
HANDED = 8


@dataclass(frozen=True)
class Verdict:
    """What came of a scenario's records. `lost`, `billed_twice` and `sent_twice` are to be 0."""

    enqueued: int
    lost: int
    billed_twice: int
    sent_twice: int
    undelivered: int
    failed: int


def text(plan: Plan, number: int) -> str:
    word = "poison" if number % POISON == 7 else "shaky" if number % SHAKY == 3 else "plain"
    return f"seed {plan.seed} record {number} {word} " + "." * plan.length


def params(plan: Plan, number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": text(plan, number)}]
    return {"model": MODELS[number % plan.models], "max_tokens": 64, "messages": messages}


def entries(plan: Plan, first: int, last: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Pairs of a job and one record of it."""
    for number in range(first, last):
        entry: dict[str, Any] = {"params": params(plan, number), "custom_id": f"r{number}"}
        if number % HANDED == 0:
            entry["on_result"] = "chaos.sink:note"
        yield f"job {number % JOBS}", entry


def ended(database: Database) -> int:
    """How many records have their end."""
    return sum(job.ended for job in reading.jobs(database))


def known(database: Database) -> int:
    """How many records were accepted."""
    return sum(job.known for job in reading.jobs(database))


def judge(plan: Plan, count: int, api: Running, database: Database, delivered: Path) -> Verdict:
    """Hold every record that was enqueued against the API's own ledger, against the store and against what was delivered.

    "poison" records may fail, and "shaky" ones are sent again when they failed, if a rule of the plan looks for that word.
    """
    struck = {fault.how["prompt"] for fault in plan.faults if "prompt" in fault.how}
    ledger = api.ledger()
    answers = {
        (job.name, ending.custom_id): ending
        for job in reading.jobs(database)
        for state in TERMINAL
        for ending in outcomes.iterate(database, job.id, states=[state])
    }
    handed = set(delivered.read_text().splitlines()) if delivered.exists() else set()
    lost = billed = sent = undelivered = failed = 0
    for number in range(count):
        job, prompt = f"job {number % JOBS}", text(plan, number)
        entry = ledger.get(_digest(params(plan, number)), {"accepted": 0, "billed": 0})
        ending = answers.get((job, f"r{number}"))
        if ending is None:
            lost += 1
        elif ending.state == "succeeded":
            lost += entry["accepted"] == 0 or not _is_answer(prompt, ending.line)
        else:
            failed += 1
            lost += not ("poison" in struck and "poison" in prompt)
        billed += entry["billed"] > 1
        sent += entry["accepted"] > 1 and not ("shaky" in struck and "shaky" in prompt)
        undelivered += number % HANDED == 0 and f"{job} r{number}" not in handed
    return Verdict(count, lost, billed, sent, undelivered, failed)


def _digest(asked: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()[:8].hex()


def _is_answer(prompt: str, line: bytes | None) -> bool:
    want = f"answer to {hashlib.sha256(prompt.encode()).hexdigest()[:12]}"
    return line is not None and orjson.loads(line)["result"]["message"]["content"][0]["text"] == want
