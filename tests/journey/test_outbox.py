"""An application's transactions and the system that runs beside it: what was committed has its answer, and nothing else was asked."""

from __future__ import annotations

import subprocess
import sys

import pytest
from journey_machine import wait_until

APPLICATION = """
import os, signal, sys
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, insert
from sqlalchemy.orm import Session
from bakehouse import enqueue_record
from bakehouse.outbox import create_outbox

number, ending = int(sys.argv[1]), sys.argv[2]
engine = create_engine("sqlite:///shop.db")
orders = Table("orders", MetaData(), Column("number", Integer, primary_key=True))
orders.create(engine, checkfirst=True)
create_outbox(engine)
with Session(engine) as session:
    session.execute(insert(orders), {"number": number})
    body = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": f"item {number}"}]}
    enqueue_record(body, custom_id=f"record {number}", job="orders", session=session)
    if ending == "rollback":
        session.rollback()
    if ending == "killed before":
        os.kill(os.getpid(), signal.SIGKILL)
    session.commit()
if ending == "killed after":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_every_committed_order_has_its_answer_and_no_other_was_asked(machine, api):
    url = f"sqlite:///{machine.home / 'shop.db'}"
    endings = ("commit", "rollback", "killed before", "killed after")

    def order(number):
        argv = [sys.executable, "-c", APPLICATION, str(number), endings[number % len(endings)]]
        env = {name: value for name, value in machine.env.items() if not name.startswith("BAKEHOUSE_")}
        return subprocess.run(argv, cwd=machine.home, env=env, timeout=60).returncode

    assert [order(number) for number in range(4)] == [0, 0, -9, -9]  # before any worker or Redis is there
    machine.start("up", "--flower-port", "0", BAKEHOUSE_OUTBOX_URL=url)
    wait_until((machine.home / ".bakehouse" / "redis.url").exists, "the system is up")
    for number in range(4, 12):
        order(number)
    want = [number for number in range(12) if endings[number % len(endings)] in ("commit", "killed after")]

    def exported():
        run = machine.run("export", "--job", "orders", "-o", "out.jsonl")
        return run.returncode == 0 and len(machine.lines()) == len(want)

    wait_until(exported, "what was committed has its answer")
    assert {answer["custom_id"] for answer in machine.lines()} == {f"record {number}" for number in want}
    assert api.totals()["accepted_twice"] == 0
    checked = machine.run("doctor", BAKEHOUSE_OUTBOX_URL=url)
    assert checked.returncode == 0, checked.stdout
    assert f"ok   outbox: {url} is empty" in checked.stdout
