"""A moment of each part of `make soak`: that it runs, counts, and finds nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from soak import kills, leaks, power_cuts, syscalls


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
def test_kills() -> None:
    counts = kills.run(100, seed=3)
    assert counts["acknowledged"] > 500
    assert counts["lost"] == counts["bad"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_power_cuts(kind: str) -> None:
    if reason := power_cuts.why_not(kind):
        pytest.skip(reason)
    counts = power_cuts.run(kind, 10, seed=3)
    assert counts["cuts"] == 10
    assert counts["lost"] == counts["bad"] == 0


@pytest.mark.slow
def test_system_calls_that_fail() -> None:
    if reason := syscalls.why_not():
        pytest.skip(reason)
    assert syscalls.run(0.03)["faults"] > 20


@pytest.mark.slow
def test_a_million_sends_and_polls_leave_the_process_as_large_as_it_was() -> None:
    assert leaks.growth_kb(leaks.run(1_000_000)) < leaks.GROWTH_MAX_KB
