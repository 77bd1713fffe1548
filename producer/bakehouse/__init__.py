"""Bakehouse: runs an application's Claude work through Anthropic's Message Batches API at half the price.

Asking, and what becomes of it:

    from bakehouse import enqueue_record, get_outcome, iter_outcomes, job, wait

The workers, the command line and everything that knows SQL, Celery or the SDK live in `bakehouse_worker`.
"""

from bakehouse.client import Client, Receipt, enqueue_record, enqueue_records
from bakehouse.errors import (
    BakehouseError,
    ConfigurationError,
    InboxFull,
    InboxUnavailable,
    InvalidRecord,
    NotEnded,
    NotOnDisk,
    UnknownJob,
)
from bakehouse.handlers import handler
from bakehouse.outcome import Outcome, ResultError, Usage
from bakehouse.reading import Job, Progress, get_outcome, iter_outcomes, job, wait

__version__ = "0.1.0"

__all__ = [
    "BakehouseError",
    "Client",
    "ConfigurationError",
    "InboxFull",
    "InboxUnavailable",
    "InvalidRecord",
    "Job",
    "NotEnded",
    "NotOnDisk",
    "Outcome",
    "Progress",
    "Receipt",
    "ResultError",
    "UnknownJob",
    "Usage",
    "enqueue_record",
    "enqueue_records",
    "get_outcome",
    "handler",
    "iter_outcomes",
    "job",
    "wait",
]
