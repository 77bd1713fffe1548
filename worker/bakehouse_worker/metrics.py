"""The state of the whole installation for Prometheus, read from the store and Redis at each scrape of Flower's `/metrics`.

Names and units follow Prometheus's conventions: base units, `_total` for what only grows. Labels are jobs, states, models and the
API's own words for errors; no custom_id and no content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import redis
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bakehouse import BakehouseError
from bakehouse_worker import deadlines, relay
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.states import BatchState
from bakehouse_worker.store import holds, measuring, reading
from bakehouse_worker.store.uncollected import uncollected

log = logger("metrics")


class InstallationCollector(Collector):
    """Reads afresh at every scrape. What cannot be read is left out, and `bakehouse_store_up` or `bakehouse_redis_up` is 0."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: registering must not need a store."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        try:
            found = list(_store(self._runtime))
        except Exception as error:  # whatever it is: a scrape that fails would hide Flower's own metrics too
            log.warning("store not read", reason=type(error).__name__)
            found = []
        yield _gauge("bakehouse_store_up", "Whether the store could be read.", float(bool(found)))
        yield from found
        yield from _inbox(self._runtime)


def _store(runtime: Runtime) -> Iterator[Metric]:
    database, now = runtime.database, runtime.database.now()
    yield from _jobs(runtime, now)
    yield from _batches(runtime)
    yield from _deadlines(runtime, now)
    ticked = holds.get(database, "ticked_at")
    if ticked is not None:
        lag = max(0.0, now - float(ticked))
        yield _gauge("bakehouse_tick_lag_seconds", "Seconds since the last tick of beat was worked on.", lag)
    if runtime.settings.outbox_url:
        up = float(relay.away(runtime) is None)
        yield _gauge("bakehouse_outbox_up", "Whether the application's outbox answered when it was looked at last.", up)
    wait = holds.standing(database)
    paused = GaugeMetricFamily(
        "bakehouse_submissions_paused", "1 while submissions wait, by the kind of wait.", labels=["kind"]
    )
    for kind in (holds.PAUSED, *holds.OPEN, holds.RETRY_AFTER, holds.RESTORED):
        paused.add_metric([kind], float(wait is not None and wait.kind == kind))
    yield paused
    deliveries = GaugeMetricFamily(
        "bakehouse_deliveries", "Outcomes waiting for a handler, or given up.", labels=["state"]
    )
    for state, count in ({"waiting": 0, "failed": 0} | reading.deliveries(database)).items():
        deliveries.add_metric([state], count)
    yield deliveries
    yield from _results(runtime)


def _jobs(runtime: Runtime, now: float) -> Iterator[Metric]:
    records = GaugeMetricFamily("bakehouse_records", "Records by job and state.", labels=["job", "state"])
    oldest = GaugeMetricFamily(
        "bakehouse_oldest_waiting_seconds", "Seconds since a job's oldest waiting record became due.", labels=["job"]
    )
    due = measuring.oldest_due(runtime.database)
    for job in reading.jobs(runtime.database):
        for state, count in job.states.items():
            records.add_metric([job.name, state], count)
        oldest.add_metric([job.name], max(0.0, now - due.get(job.name, now)))
    yield records
    yield oldest


def _batches(runtime: Runtime) -> Iterator[Metric]:
    live = reading.live_batches(runtime.database)
    batches = GaugeMetricFamily("bakehouse_batches", "Batches that are not finished, by state.", labels=["state"])
    requests = GaugeMetricFamily(
        "bakehouse_batch_requests", "Requests in batches that are not finished, by state.", labels=["state"]
    )
    count, sums = Counter(batch.state for batch in live), Counter[str]()
    for batch in live:
        sums[batch.state] += batch.requests
    for state in BatchState:
        if state is not BatchState.DISSOLVED:
            batches.add_metric([state], count[state])
            requests.add_metric([state], sums[state])
    yield batches
    yield requests


def _deadlines(runtime: Runtime, now: float) -> Iterator[Metric]:
    waiting = uncollected(runtime.database)
    told = "Batches that a person must look at: their results are about to be deleted at the API, or they should have ended."
    alarms = GaugeMetricFamily("bakehouse_batch_alarms", told, labels=["kind"])
    kinds = Counter(alarm.kind for alarm in deadlines.alarms(waiting, now))
    for kind in (deadlines.RESULTS, deadlines.STUCK):
        alarms.add_metric([kind], kinds[kind])
    yield alarms
    if waiting:
        left = min(batch.gone_at for batch in waiting) - now
        told = "Seconds until the API deletes the first results that are not collected; absent if none are to be collected."
        yield _gauge("bakehouse_results_expire_seconds", told, left)


def _results(runtime: Runtime) -> Iterator[Metric]:
    results = CounterMetricFamily(
        "bakehouse_results",
        "Settled results by what the API said: kind, and error type or stop reason.",
        labels=["kind", "reason"],
    )
    for kind, reason, number in measuring.tallies(runtime.database):
        results.add_metric([kind, reason], number)
    tokens = CounterMetricFamily(
        "bakehouse_tokens", "Tokens of succeeded results by model and use.", labels=["model", "use"]
    )
    cost = CounterMetricFamily("bakehouse_cost_usd", "Dollars that succeeded results cost, by model.", labels=["model"])
    saved = CounterMetricFamily(
        "bakehouse_saved_usd", "Dollars that synchronous calls would have cost more.", labels=["model"]
    )
    unpriced = CounterMetricFamily(
        "bakehouse_unpriced_results", "Succeeded results without a known price.", labels=["model"]
    )
    for spend in reading.spend(runtime.database):
        for use in ("input", "output", "cache_write", "cache_read"):
            tokens.add_metric([spend.model, use], getattr(spend, f"{use}_tokens"))
        cost.add_metric([spend.model], spend.cost)
        saved.add_metric([spend.model], spend.cost_sync - spend.cost)
        unpriced.add_metric([spend.model], spend.unpriced)
    yield from (results, tokens, cost, saved, unpriced)


def _inbox(runtime: Runtime) -> Iterator[Metric]:
    """Yield what stands in Redis."""
    keys = runtime.keys
    try:
        pipeline = runtime.redis.pipeline(transaction=False)
        pipeline.xlen(keys.inbox)
        pipeline.get(keys.inbox_bytes)
        pipeline.xlen(keys.parked)
        entries, held, parked = pipeline.execute()
    except (redis.RedisError, BakehouseError):
        yield _gauge("bakehouse_redis_up", "Whether Redis answered.", 0.0)
        return
    yield _gauge("bakehouse_redis_up", "Whether Redis answered.", 1.0)
    yield _gauge("bakehouse_inbox_entries", "Entries in the inbox, not yet accepted.", float(entries))
    yield _gauge("bakehouse_inbox_bytes", "Bytes in the inbox, not yet accepted.", float(held or 0))
    yield _gauge("bakehouse_parked_entries", "Entries set aside because this release cannot read them.", float(parked))


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(name, told, value=value)
