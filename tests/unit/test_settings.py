"""Settings: from the environment and `.env`, under one prefix, and a wrong one is told in one sentence that names it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from bakehouse import ConfigurationError
from bakehouse.inbox import DEFAULT_MAX_INBOX_BYTES
from bakehouse.record import MAX_PARAMS_BYTES
from bakehouse_worker.settings import load

#: What users and tools rely on.
DEFAULTS = {
    "data_dir": Path(".bakehouse"),
    "redis_url": "",
    "database_url": "",
    "outbox_url": "",
    "auto_migrate": True,
    "imports": (),
    "tick": 1.0,
    "linger": 60.0,
    "poll_interval": 30.0,
    "max_batch_requests": 10_000,
    "max_batch_bytes": 200_000_000,
    "max_queued_requests": 200_000,
    "max_attempts": 5,
    "max_expired": 3,
    "retry_base": 30.0,
    "retry_cap": 3600.0,
    "lease": 60.0,
    "create_timeout": 120.0,
    "doubt_grace": 600.0,
    "probe_interval": 300.0,
    "fanout_limit": 100,
    "retain_content": None,
    "retain_rows": None,
}
SECONDS = ["tick", "linger", "poll_interval", "lease", "retry_base", "retry_cap", "create_timeout", "doubt_grace"]
PASSWORD = "correct-horse"


@pytest.fixture(autouse=True)
def clean(nowhere, monkeypatch):
    for name in list(os.environ):
        if name.upper().startswith("BAKEHOUSE_"):
            monkeypatch.delenv(name)


def refusal():
    with pytest.raises(ConfigurationError) as caught:
        load()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_with_nothing_set_a_setting_has_the_default_of_the_design(name, value):
    found = getattr(load(), name)
    assert found == value
    assert isinstance(found, type(value))


def test_the_two_sides_agree_on_the_limits_that_both_know():
    assert load().max_inbox_bytes == DEFAULT_MAX_INBOX_BYTES
    assert load().max_batch_bytes == MAX_PARAMS_BYTES


def test_the_store_lies_in_the_data_dir():
    assert load(data_dir=Path("/somewhere")).sqlite_path.parent == Path("/somewhere")


# Where they come from


def test_a_setting_is_read_from_the_environment_under_the_prefix(monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_MAX_ATTEMPTS", "7")
    monkeypatch.setenv("BAKEHOUSE_DATA_DIR", "/elsewhere")
    monkeypatch.setenv("BAKEHOUSE_AUTO_MIGRATE", "false")
    assert (load().max_attempts, load().data_dir, load().auto_migrate) == (7, Path("/elsewhere"), False)


def test_a_name_without_the_prefix_is_somebody_elses(monkeypatch):
    monkeypatch.setenv("MAX_ATTEMPTS", "7")
    monkeypatch.setenv("ANTHROPIC_TICK", "9")
    assert load() == load(max_attempts=5)


@pytest.mark.parametrize("name", SECONDS)
def test_seconds_may_be_fractions(name, monkeypatch):
    monkeypatch.setenv(f"BAKEHOUSE_{name.upper()}", "0.25")
    assert getattr(load(), name) == 0.25


@pytest.mark.parametrize(
    ("value", "modules"),
    [("myapp.labels", ("myapp.labels",)), ("a, b.c ,,d,", ("a", "b.c", "d")), ("", ()), (" , ", ())],
)
def test_imports_are_separated_by_commas(value, modules, monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_IMPORTS", value)
    assert load().imports == modules


def test_a_setting_is_read_from_dot_env_in_the_current_directory(nowhere):
    (nowhere / ".env").write_text(
        "BAKEHOUSE_LINGER=2.5\nexport BAKEHOUSE_IMPORTS='a,b'\nOTHER_TOOL=1\nANTHROPIC_API_KEY=x\n"
    )
    assert (load().linger, load().imports) == (2.5, ("a", "b"))


def test_the_environment_goes_before_dot_env_and_the_command_line_before_both(nowhere, monkeypatch):
    (nowhere / ".env").write_text("BAKEHOUSE_LINGER=2\nBAKEHOUSE_TICK=3\n")
    monkeypatch.setenv("BAKEHOUSE_LINGER", "4")
    assert (load().linger, load().tick) == (4.0, 3.0)
    assert load(linger=5.0).linger == 5.0


def test_a_dot_env_of_another_directory_is_not_read(nowhere, monkeypatch):
    (nowhere / ".env").write_text("BAKEHOUSE_LINGER=2\n")
    (nowhere / "below").mkdir()
    monkeypatch.chdir(nowhere / "below")
    assert load().linger == 60.0


def test_a_dot_env_that_is_no_text_is_refused_in_one_sentence(nowhere):
    (nowhere / ".env").write_bytes("BAKEHOUSE_JOB=Bäckerei\n".encode("latin-1"))
    assert refusal().startswith(".env is not UTF-8 text")


def test_settings_cannot_be_changed_once_loaded():
    with pytest.raises(ValidationError):
        load().tick = 2.0


# A misspelt name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BAKEHOUSE_LINGERR", "BAKEHOUSE_LINGER"),
        ("BAKEHOUSE_POLL_INTERVALL", "BAKEHOUSE_POLL_INTERVAL"),
        ("BAKEHOUSE_MAX_BATCH_REQUEST", "BAKEHOUSE_MAX_BATCH_REQUESTS"),
        ("BAKEHOUSE_REDISURL", "BAKEHOUSE_REDIS_URL"),
        ("bakehouse_datadir", "BAKEHOUSE_DATA_DIR"),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_misspelt_name_is_refused_with_the_one_that_was_meant(name, meant, place, nowhere, monkeypatch):
    if place == "environment":
        monkeypatch.setenv(name, "1")
    else:
        (nowhere / ".env").write_text(f"{name}=1\n")
    assert refusal() == f"{name} is not a setting; did you mean {meant}?"


def test_a_misspelt_name_is_refused_even_if_all_others_are_right(monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_LINGER", "5")
    monkeypatch.setenv("BAKEHOUSE_LINGRE", "5")
    assert "BAKEHOUSE_LINGRE" in refusal()


# A wrong value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TICK", "soon"),
        ("TICK", "0"),
        ("TICK", "-1"),
        ("TICK", "nan"),
        ("TICK", ""),
        ("LINGER", "-0.1"),
        ("MAX_BATCH_REQUESTS", "0"),
        ("MAX_BATCH_REQUESTS", "100001"),
        ("MAX_BATCH_REQUESTS", "1.5"),
        ("MAX_BATCH_BYTES", "999"),
        ("MAX_BATCH_BYTES", "256000001"),
        ("MAX_ATTEMPTS", "0"),
        ("MAX_ATTEMPTS", "many"),
        ("MAX_EXPIRED", "0"),
        ("FANOUT_LIMIT", "0"),
        ("AUTO_MIGRATE", "perhaps"),
        ("RETAIN_CONTENT", "-1"),
        ("RETAIN_CONTENT", "nan"),
        ("RETAIN_ROWS", "-1"),
        ("RETAIN_ROWS", "inf"),
    ],
)
def test_a_wrong_value_is_told_in_one_sentence_that_names_the_variable(name, value, monkeypatch):
    monkeypatch.setenv(f"BAKEHOUSE_{name}", value)
    message = refusal()
    assert message.startswith(f"BAKEHOUSE_{name}: ")
    assert "input should be" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_BATCH_REQUESTS", 1),
        ("MAX_BATCH_REQUESTS", 100_000),
        ("MAX_BATCH_BYTES", 1_000),
        ("MAX_BATCH_BYTES", 256_000_000),
        ("MAX_QUEUED_REQUESTS", 1),
        ("MAX_ATTEMPTS", 1),
        ("FANOUT_LIMIT", 1),
        ("LINGER", 0.0),
        ("RETAIN_CONTENT", 0.0),
    ],
)
def test_a_value_at_the_very_limit_is_allowed(name, value, monkeypatch):
    monkeypatch.setenv(f"BAKEHOUSE_{name}", str(value))
    assert getattr(load(), name.lower()) == value


def test_rows_may_not_be_kept_for_a_shorter_time_than_their_content(monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_RETAIN_CONTENT", "30")
    monkeypatch.setenv("BAKEHOUSE_RETAIN_ROWS", "7")
    assert refusal() == "BAKEHOUSE_RETAIN_ROWS: input should be at least 30, the days that content is kept"
    monkeypatch.setenv("BAKEHOUSE_RETAIN_ROWS", "30")
    assert load().retain_rows == 30.0


def test_rows_alone_may_have_a_time(monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_RETAIN_ROWS", "7")
    assert (load().retain_content, load().retain_rows) == (None, 7.0)


def test_a_wrong_override_of_the_command_line_is_told_the_same_way():
    with pytest.raises(ConfigurationError, match=r"^BAKEHOUSE_LINGER: "):
        load(linger="soon")


def test_a_wrong_value_is_not_repeated_because_it_may_be_a_secret(monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_MAX_ATTEMPTS", f"redis://:{PASSWORD}@host")
    assert PASSWORD not in refusal()


def test_passwords_in_urls_are_in_no_repr(monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_REDIS_URL", "redis://:SECRET@127.0.0.1/0")
    monkeypatch.setenv("BAKEHOUSE_DATABASE_URL", "postgresql://me:SECRET@127.0.0.1/db")
    assert "SECRET" not in repr(load())


@pytest.mark.parametrize("name", ["TICK", "LINGER", "POLL_INTERVAL", "LEASE", "DOUBT_GRACE"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_endless_seconds_are_refused(monkeypatch, name, value):
    monkeypatch.setenv(f"BAKEHOUSE_{name}", value)
    with pytest.raises(ConfigurationError, match=f"BAKEHOUSE_{name}"):
        load()


@pytest.mark.parametrize(
    "url", ["store", "sqlite:////srv/app.db", "postgresql://h/db", "postgresql+asyncpg://h/db", "postgres://h/db"]
)
def test_an_outbox_is_where_the_application_says_that_its_database_is(monkeypatch, url):
    monkeypatch.setenv("BAKEHOUSE_OUTBOX_URL", url)
    assert load().outbox_url == url


@pytest.mark.parametrize("url", [f"mysql://shop:{PASSWORD}@h/db", "app.db", "Store"])
def test_an_outbox_elsewhere_is_refused_without_its_password(monkeypatch, url):
    monkeypatch.setenv("BAKEHOUSE_OUTBOX_URL", url)
    message = refusal()
    assert "BAKEHOUSE_OUTBOX_URL: input should start with postgresql:// or sqlite:///" in message
    assert PASSWORD not in message
