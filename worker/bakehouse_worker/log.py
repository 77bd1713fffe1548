"""Logs: one line per transition, with ids and numbers, never content. JSON where there is no terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

#: Loggers that say one line per message or request at INFO; ours say one per transition.
CHATTY = (
    "celery.app.trace",
    "celery.worker.strategy",
    "celery.beat",
    "celery.worker.request",
    "httpx2",
    "httpcore2",
    "kombu",
    "alembic",
    "tornado.access",
)


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Set up logging of this process, the standard library's included, to `stream` or standard error."""
    stream = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    readable = stream.isatty()
    renderer: Any = structlog.dev.ConsoleRenderer() if readable else structlog.processors.JSONRenderer()
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def logger(station: str) -> Any:
    """Return the logger of a station; call it as `log.info("packed", batch=42, requests=10_000)`."""
    return structlog.get_logger(f"bakehouse.{station}")
