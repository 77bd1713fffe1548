"""What a job's first results decide about the rest of it. Part of station 6, settle.

One wrong field fails every record in the same way, and is cheaper to find in twenty than in a hundred thousand: a job may send a
canary first, and a batch of which an abnormal share was refused for good parks the rest of its job until a person has looked.
"""

from __future__ import annotations

from collections.abc import Collection

from bakehouse_worker import retry
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import holds, trials
from bakehouse_worker.store.trials import Share

#: Fewer refused records than this in one batch park no job, whatever share they are.
FEW = 20

log = logger("trial")


def is_abnormal(share: Share, limit: float, few: int = FEW) -> bool:
    """Tell whether more failed than is normal: at least `few`, and more than `limit` (0 to 1) of all. Pure."""
    return share.failed >= few and share.failed > limit * share.records


def judge_canaries(runtime: Runtime, job_ids: Collection[int]) -> None:
    """Let the rest of each job go whose canary has come to its end, or park the job."""
    for share in trials.canaries(runtime.database, job_ids):
        if not trials.decided(runtime.database, share.job_id):
            continue
        if is_abnormal(share, runtime.settings.failure_share, few=1):
            _park(runtime, share, "of its canary")
        else:
            log.info("canary passed", job=share.job, records=share.records, failed=share.failed)


def judge_batch(runtime: Runtime, batch_id: int) -> None:
    """Park each job of which an abnormal share of this batch was refused for good."""
    for share in trials.shares(runtime.database, batch_id, retry.PERMANENT):
        if is_abnormal(share, runtime.settings.failure_share):
            _park(runtime, share, f"in batch {batch_id}")


def _park(runtime: Runtime, share: Share, where: str) -> None:
    reason = (
        f"{share.failed:,} of {share.records:,} records {where} failed, most as {share.reason}, such as {share.example}"
    )
    if holds.park(runtime.database, holds.JOB, share.job, reason):
        log.error("job parked", job=share.job, records=share.records, failed=share.failed, type=share.reason)
