"""Whatever a crash leaves at whatever moment: is all there that was acknowledged, and nothing else?

Goal: durability and recovery, without luck. Method: a workload runs once on a seam that writes down
every file operation; `support.disk_model` gives the states a crash after each operation may leave;
from each a broker is opened and compared with what was promised (`support.crash_oracle`).
`make crash` visits many more states than the default run, the exhaustive run all of them.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator

import pytest

from crash.workloads import WORKLOADS
from support.crash_explorer import Explorer, Limits, Workload

SEED = int(os.environ.get("CRASH_SEED", "1"))


@pytest.fixture
def scratch() -> Iterator[str]:
    """A directory in memory where there is one: images are written by the thousand."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as path:
        logging.disable(logging.CRITICAL)  # recovery logs what it cuts; here that is routine
        yield path
        logging.disable(logging.NOTSET)


def explore(scratch: str, workload: Workload, visits: int) -> None:
    findings = Explorer(scratch, workload, Limits(seed=SEED, visits=visits)).run()
    assert not findings.failures, "\n\n".join(findings.failures)
    assert findings.distinct > min(visits, 100) // 4


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.__name__)
def test_nothing_acknowledged_is_lost(scratch: str, workload: Workload) -> None:
    explore(scratch, workload, 80)


@pytest.mark.slow
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.__name__)
def test_nothing_acknowledged_is_lost_in_many_states(scratch: str, workload: Workload) -> None:
    explore(scratch, workload, 1500)


@pytest.mark.exhaustive
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.__name__)
def test_nothing_acknowledged_is_lost_in_any_state(scratch: str, workload: Workload) -> None:
    explore(scratch, workload, 1 << 40)
