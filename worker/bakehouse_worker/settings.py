"""Every setting, typed, with its unit and default. Environment and `.env`, prefix `BAKEHOUSE_`; a misspelt name is refused.

The API key and origin are the SDK's own variables (`ANTHROPIC_API_KEY`, `ANTHROPIC_BASE_URL`) and are read by the gateway only.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated

from dotenv import dotenv_values
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bakehouse import ConfigurationError

PREFIX = "BAKEHOUSE_"

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """One installation's settings. Seconds may be fractions. The field's description is its line in the docs."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    data_dir: Path = Field(
        Path(".bakehouse"), description="embedded server, SQLite store, logs and locks live here (mode 0700)"
    )
    redis_url: str = Field("", repr=False, description="a Redis of your own; empty: an embedded server in DATA_DIR")
    redis_prefix: str = Field("bakehouse", description="starts every key in Redis, so that installations can share one")
    database_url: str = Field("", repr=False, description="postgresql://...; empty: SQLite in DATA_DIR")
    outbox_url: str = Field(
        "",
        repr=False,
        description="the application's database that has the outbox, postgresql://... or sqlite:///...; `store`: the store's own; "
        "empty: none",
    )
    auto_migrate: bool = Field(
        True, description="bring the schema up to date at start; false: `bakehouse migrate` does it"
    )
    imports: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="modules that deliver workers import at start, by commas"
    )
    celery_app: str = Field(
        "", description="the application's own Celery app, such as myapp.celery:app, for on_result=task:NAME@QUEUE"
    )
    deliver_timeout: Seconds = Field(
        60.0, description="seconds after which a call of a handler is ended; @handler(timeout=...) sets another"
    )

    tick: Seconds = Field(
        1.0, description="seconds between two looks of beat for due work; POLL_INTERVAL, if that is less"
    )
    linger: float = Field(
        60.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds the oldest record waits for company before a part-filled batch leaves",
    )
    poll_interval: Seconds = Field(
        30.0, description="seconds between two questions about batches in progress; grows as they age"
    )
    lease: Seconds = Field(
        60.0, description="seconds without renewal after which another worker takes over work in hand"
    )
    stop_grace: Seconds = Field(
        30.0, description="seconds that a worker told to stop has to finish or hand back what it holds"
    )

    max_batch_requests: int = Field(
        10_000, ge=1, le=100_000, description="requests in one batch; the API takes 100,000"
    )
    max_batch_bytes: int = Field(
        200_000_000, ge=1_000, le=256_000_000, description="bytes of one create's body; the API takes 256 MB"
    )
    max_queued_requests: Count = Field(
        200_000, description="requests at Anthropic at one time; your tier's queue limit"
    )
    max_inbox_bytes: Count = Field(256_000_000, description="bytes in the inbox above which enqueueing is refused")

    max_attempts: Count = Field(5, description="failed attempts after which a record is failed")
    max_expired: Count = Field(3, description="expiries after which a record is failed")
    retry_base: Seconds = Field(
        30.0, description="seconds; backoff is uniform(0, min(RETRY_CAP, RETRY_BASE * 2^failures))"
    )
    retry_cap: Seconds = Field(3600.0, description="seconds; the longest backoff")
    fanout_limit: Count = Field(100, description="results of one batch up to which each has a Celery task of its own")

    canary: int = Field(
        0, ge=0, description="records of each new job that go first, and whose results decide about the rest; 0: none"
    )
    failure_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of a job's records in one batch; if more are refused for good, the job's others wait; 1: never",
    )

    create_timeout: Seconds = Field(
        120.0, description="seconds to wait for the answer to a create, after its last byte"
    )
    doubt_grace: Seconds = Field(
        600.0, description="seconds a create in doubt is looked for before it is believed absent"
    )
    probe_interval: Seconds = Field(
        300.0, description="seconds between two probes while submissions are paused by the API"
    )

    retain_content: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="days that prompts and answers are kept after the end; unset: as long as their rows",
    )
    retain_rows: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="days that ended records are kept at all; then only a hash knows a late doubling; unset: for ever",
    )

    @field_validator("imports", mode="before")
    @classmethod
    def _by_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("outbox_url")
    @classmethod
    def _an_outbox(cls, url: str) -> str:
        if url and url != "store" and not re.match(r"(postgres|postgresql|sqlite)(\+\w+)?://", url):
            told = "input should start with postgresql:// or sqlite:///, or be the word store"
            raise PydanticCustomError("no_database", told)  # it may hold a password: nothing of it is quoted
        return url

    @field_validator("retain_rows")
    @classmethod
    def _not_before_content(cls, days: float | None, info: ValidationInfo) -> float | None:
        content = info.data.get("retain_content")
        if days is not None and content is not None and days < content:
            told = {"days": f"{content:g}"}
            raise PydanticCustomError(
                "too_short", "input should be at least {days}, the days that content is kept", told
            )
        return days

    @property
    def sqlite_path(self) -> Path:
        """Where the default store lives."""
        return self.data_dir / "bakehouse.sqlite"


def load(**overrides: object) -> Settings:
    """Read the settings; `overrides` are fields set by the command line. Raises ConfigurationError, one sentence."""
    _refuse_unknown_names()
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
        return settings.model_copy(update={"tick": min(settings.tick, settings.poll_interval)})
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + "_".join(str(part) for part in first["loc"][:1]).upper()
        raise ConfigurationError(f"{name}: {first['msg'].lower()}") from None


def _refuse_unknown_names() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    try:
        given = {name for name in (*os.environ, *dotenv_values(".env")) if name.upper().startswith(PREFIX)}
    except UnicodeDecodeError:
        raise ConfigurationError(
            ".env is not UTF-8 text: save it as UTF-8, or set the variables in the environment"
        ) from None
    for name in sorted(given):
        if name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.5)
            raise ConfigurationError(
                f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "; see the README's table")
            )
