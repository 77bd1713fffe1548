"""A few seeds of `make chaos`, and one safeguard taken out: small clusters of real processes while things go wrong around them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from chaos import plan as plans
from chaos import sweep, without
from chaos.scenario import carry_out
from chaos.services import Services

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("chaos")]


@pytest.fixture(scope="module")
def services():
    with Services() as made:
        yield made


@pytest.fixture(scope="module")
def points(services, tmp_path_factory):
    """The crash points of this very code, from a run without crashes; all must end well in it too."""
    return sweep.record(tmp_path_factory.mktemp("chaos"), services)


def test_every_station_that_writes_has_its_crash_points(points):
    stations = {point.split(":")[0] for point in points}
    assert stations >= {"tick", "accept", "chunk", "submit", "poll", "collect", "settle", "deliver", "rescue", "lease"}
    assert {"submit:before:submissions.closing:1", "submit:after:submissions.closing:1"} <= set(points)


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_or_billed_twice_whatever_fails(seed, points, services, tmp_path):
    outcome = sweep.run(plans.small(plans.plan(seed, points)), tmp_path, services)
    assert outcome.good, f"seed {seed}: {outcome.verdict}; its plan and logs are in {tmp_path}"
    assert outcome.fired


def test_the_ledger_sees_a_safeguard_that_is_missing(services, tmp_path):
    name = "doubt_is_looked_into"
    taken_out = carry_out(replace(without.plan(name), without=name), tmp_path / "run", services)
    assert taken_out.verdict.billed_twice > 0
