"""What people see of a running system: tasks by station, metrics, logs; and what nobody may see there: prompts, answers, keys."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import psutil
import pytest
from cluster import ROLES, Cluster, Server, free_port
from journey_machine import wait_until
from prometheus_client.parser import text_string_to_metric_families

PROMPT, ANSWER, KEY = "canary-prompt-7d1f", "canary-answer-93ab", "sk-ant-canary-5c20"
REDIS, PASSWORD = "canary-redis-11ee", "canary-flower-80cd"

APPLICATION = f"""
import os, sys
from bakehouse import enqueue_record, enqueue_records
from bakehouse.connection import connect
from bakehouse.contract import Keys

def params(text, **more):
    return {{"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{{"role": "user", "content": "{PROMPT} " + text}}], **more}}

for kind in ("fine", "overloaded", "invalid", "expired", "refused", "named", "unknown"):
    enqueue_records([dict(params=params(f"{{kind}} {{n}}"), custom_id=f"{{kind}} {{n}}", on_result=sys.argv[1],
                          metadata={{"note": "{PROMPT}"}}) for n in range(5)], job="job")
enqueue_record(params("another body"), custom_id="fine 0", job="job")
connection = connect(os.environ["BAKEHOUSE_REDIS_URL"])
connection.xadd(Keys("bakehouse").inbox, {{"h": b'{{"v": 99}}', "p": b"{PROMPT}"}})
connection.xadd(Keys("bakehouse").inbox, {{"h": b"\\xff{PROMPT}", "p": b"{PROMPT}"}})
"""
HANDLERS = """
def save(outcome):
    if outcome.custom_id.startswith("fine"):
        raise ValueError(f"cannot store {outcome.text} of {outcome.metadata}")
"""
TROUBLE = [
    {
        "on": "create",
        "fault": "bad_request",
        "prompt": "named",
        "names_item": True,
        "message": f"{PROMPT} is bad",
        "times": 5,
    },
    {"on": "create", "fault": "rate_limit", "times": 1, "message": f"slow down, {PROMPT}"},
    {"on": "create", "fault": "unauthorized", "times": 1, "message": f"invalid x-api-key {KEY}"},
    {"on": "create", "fault": "lost_after_acceptance", "times": 1},
    {"on": "results", "fault": "cut_mid_line", "times": 1},
    {"on": "list", "fault": "server_error", "times": 1, "message": PROMPT},
    {
        "on": "result",
        "fault": "errored",
        "type": "overloaded_error",
        "message": PROMPT,
        "prompt": "overloaded",
        "first_times": 1,
    },
    {"on": "result", "fault": "errored", "type": "invalid_request_error", "message": f"{PROMPT}?", "prompt": "invalid"},
    {"on": "result", "fault": "expired", "prompt": "expired", "first_times": 1},
    {"on": "result", "fault": "refusal", "prompt": "refused"},
    {"on": "result", "fault": "unknown_type", "prompt": "unknown"},
    {"on": "result", "fault": "text", "text": ANSWER},
]


class Monitor:
    """Everything that is sent to a Redis while it is open, as Redis itself tells it."""

    def __init__(self, server, file):
        self.file = file.open("wb")
        argv = [sys.executable, "-c", _MONITOR]
        self.process = subprocess.Popen(argv, stdout=self.file, env=os.environ | {"REDIS": server.url})

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.file.close()


_MONITOR = """
import os, redis
with redis.Redis.from_url(os.environ["REDIS"]).monitor() as monitor:
    for command in monitor.listen():
        print(command["command"], flush=True)
"""


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path / "redis", password=REDIS)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def cluster(tmp_path, api, server):
    settings = {"auto_migrate": "true", "max_attempts": 2, "probe_interval": 1, "imports": "handlers"}
    made = Cluster(tmp_path, api, server.url, "", **settings)
    made.env |= {
        "ANTHROPIC_API_KEY": KEY,
        "FLOWER_BASIC_AUTH": f"ann:{PASSWORD}",
        "PYTHONPATH": _with_path(tmp_path, made),
    }
    yield made
    made.stop()


def _with_path(home, cluster):
    return ":".join(filter(None, (str(home), cluster.env.get("PYTHONPATH"))))


@pytest.fixture
def port():
    return free_port()


def fetch(port, path, *, auth=True):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if auth:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def states(cluster):
    jobs = json.loads(cluster.command("status", "--json").stdout or '{"jobs": []}')["jobs"]
    return jobs[0]["records"] if jobs else {}


def metrics(port, *, auth=True):
    found = {}
    for family in text_string_to_metric_families(fetch(port, "/metrics", auth=auth)[1]):
        for sample in family.samples:
            found[sample.name, *sorted(sample.labels.values())] = sample.value
    return found


@pytest.mark.slow
def test_flower_tells_every_station_and_reason_and_nobody_tells_a_prompt_an_answer_or_a_key(
    cluster, server, port, api, tmp_path
):
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "app.py").write_text(APPLICATION)
    api.rules(*TROUBLE)
    monitor = Monitor(server, tmp_path / "monitor.txt")
    cluster.start_host("a")
    cluster.start("a", "flower", "--port", str(port))
    wait_until(
        lambda: cluster.ready("a") and cluster.command("health", "flower", "--ready").returncode == 0, "all work"
    )
    application = [sys.executable, "app.py", "handlers:save"]
    subprocess.run(application, cwd=tmp_path, env=cluster.on("application"), check=True, timeout=30)
    wanted = {"succeeded": 20, "failed": 15, "rejected": 1}
    wait_until(lambda: {k: v for k, v in states(cluster).items() if v} == wanted, f"all have their end: {wanted}", 60)
    wait_until(
        lambda: metrics(port).get(("bakehouse_deliveries", "failed")) == 5, "handlers that fail are given up", 30
    )

    tasks = json.loads(fetch(port, "/api/tasks?limit=10000")[1]).values()
    told = {(task["name"], task["state"]): task for task in tasks}
    assert {name for name, _ in told} >= {"accept", "chunk", "submit", "poll", "collect", "settle", "deliver", "rescue"}
    assert "tick" not in {name for name, _ in told}
    assert {task["exception"] for task in tasks if (task["name"], task["state"]) == ("settle", "RETRY")} >= {
        "Again('overloaded_error')",
        "Again('expired')",
    }
    assert told["settle", "FAILURE"]["exception"].startswith("Failed('")
    assert told["collect", "SUCCESS"]["args"].startswith("(batch ") and "request" in told["collect", "SUCCESS"]["args"]
    found = metrics(port)
    assert found["bakehouse_records", "job", "succeeded"] == 20
    assert found["bakehouse_results_total", "errored", "invalid_request_error"] == 5
    assert found["bakehouse_results_total", "refusal", "succeeded"] == 5
    assert found["bakehouse_parked_entries",] == 2
    assert found["bakehouse_tick_lag_seconds",] < 30

    workers = json.loads(fetch(port, "/api/workers?refresh=1")[1])
    pages = [
        "/",
        "/workers",
        "/tasks",
        "/broker",
        "/metrics",
        "/api/workers",
        "/api/tasks?limit=10000",
        "/api/task/types",
    ]
    pages += [f"/worker/{name}" for name in workers] + [f"/task/{task['uuid']}" for task in tasks]
    seen = {page: fetch(port, page) for page in pages}
    assert {status for page, (status, _) in seen.items()} == {200}
    assert fetch(port, "/api/tasks", auth=False)[0] == 401
    monitor.stop()
    celery = [
        line for line in (tmp_path / "monitor.txt").read_text().splitlines() if ":celery:" in line or "celeryev" in line
    ]
    assert any("bakehouse.settle" in line for line in celery)
    seen |= {"Celery's Redis": (0, "\n".join(celery))}
    seen |= {str(file.name): (0, file.read_text()) for file in tmp_path.glob("*.log")}
    seen |= {f"process {process.pid}": (0, " ".join(_words(process))) for process in psutil.process_iter()}
    for canary in (PROMPT, ANSWER, KEY, REDIS, PASSWORD):
        assert [place for place, (_, content) in seen.items() if canary in content] == [], canary
    assert PROMPT in (tmp_path / "monitor.txt").read_text()  # the search finds what is there: the inbox holds prompts


def _words(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_flower_listens_on_loopback_only_unless_it_has_a_password(cluster, port):
    del cluster.env["FLOWER_BASIC_AUTH"]
    for address in ("0.0.0.0", "", "::", "10.0.0.1", "example.org"):
        refused = cluster.command("flower", "--address", address, "--port", str(port))
        assert refused.returncode == 2
        assert refused.stderr.startswith("bakehouse: Flower would listen on ") and "FLOWER_BASIC_AUTH" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    cluster.start("a", "flower", "--port", str(port))
    wait_until(lambda: cluster.command("health", "flower").returncode == 0, "it runs on loopback without one", 30)
    listening = [
        c.laddr.ip for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and c.status == "LISTEN"
    ]
    assert listening == ["127.0.0.1"]
    taken = cluster.command("flower", "--port", str(port))
    assert (taken.returncode, len(taken.stderr.splitlines())) == (2, 1)
    assert f"cannot listen on 127.0.0.1:{port}" in taken.stderr


def test_up_brings_flower_along_and_takes_everything_with_it_when_it_is_interrupted(machine, port):
    up = machine.start("up", "--flower-port", str(port))
    wait_until(lambda: machine.run("health", *ROLES, "flower", "--ready").returncode == 0, "everything works", 40)
    assert metrics(port, auth=False)["bakehouse_store_up",] == 1
    up.send_signal(signal.SIGINT)
    assert up.wait(20) == 0
    assert machine.run("health").stdout == "bakehouse: nothing runs on .bakehouse/\n"
    wait_until(lambda: not machine.left_running(), "everything has ended", 15)
