"""docker-compose.yml and Dockerfile: what can be said of them without a container engine."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from compose import HOUSE, env_file, services

VARIABLES = env_file("examples/emulator.env")
SERVICES = services(VARIABLES)
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("bakehouse")}


def test_it_is_a_compose_file() -> None:
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    checked = subprocess.run(argv, cwd=HOUSE, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_everything_is_pinned_nothing_is_root_and_everything_that_stays_has_a_health_check() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":\d+\.\d+\.\d+|:\d+\.\d+-|^bakehouse:", service["image"]), name
        assert not service["user"].startswith(("0", "root")), name
        assert "healthcheck" in service or service["restart"] == "no", name
    stages = re.findall(r"^FROM (\S+)", (HOUSE / "Dockerfile").read_text(), re.MULTILINE)
    assert len(set(stages)) == 1 and re.search(r":\d+\.\d+\.\d+-", stages[0])
    assert "\nUSER 10001:10001\n" in (HOUSE / "Dockerfile").read_text()


@pytest.mark.parametrize("secret", ["REDIS_PASSWORD", "POSTGRES_PASSWORD", "FLOWER_BASIC_AUTH", "ANTHROPIC_API_KEY"])
def test_secrets_come_from_the_environment_alone_and_are_asked_for(secret: str) -> None:
    with pytest.raises(KeyError, match=f"set {secret}"):
        services({name: value for name, value in VARIABLES.items() if name != secret})
    marked = services(VARIABLES | {secret: "canary"})
    for name, service in marked.items():
        assert "canary" not in str(service.get("command")), name
        assert "canary" not in str(service.get("healthcheck")), name


def test_the_key_goes_to_the_service_that_speaks_to_the_api_and_to_no_other() -> None:
    marked = services(VARIABLES | {"ANTHROPIC_API_KEY": "canary"})
    assert [name for name, service in marked.items() if "canary" in str(service)] == ["transfer"]


def test_the_schema_is_migrated_once_before_anybody_works() -> None:
    for name in OURS - {"migrate", "emulator"}:
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    for name in ("control", "transfer", "deliver", "flower"):
        assert SERVICES[name]["environment"]["BAKEHOUSE_AUTO_MIGRATE"] == "false"


def test_only_loopback_of_the_host_is_published() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published and all(port.startswith("127.0.0.1:") for port in published)
