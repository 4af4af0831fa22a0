"""kill -9 at random moments: writers that take turns, readers, members of a group."""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
from collections import Counter

from merkql import Broker
from soak.ledger import Ledger
from soak.processes import Process

ROUNDS_A_DIRECTORY = 40
CHECK_EVERY = 5


def run(kills: int, seed: int = 1) -> Counter[str]:
    """So many kills; what was counted. ``AssertionError`` where the log broke a promise."""
    logging.disable(logging.CRITICAL)
    draw = random.Random(seed)
    totals: Counter[str] = Counter()
    while totals["kills"] < kills:
        place = tempfile.mkdtemp(prefix="merkql-soak-")
        ledger = Ledger()
        try:
            _one_directory(place, ledger, draw, totals)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        totals.update(ledger.counts)
    return totals


def _one_directory(place: str, ledger: Ledger, draw: random.Random, totals: Counter[str]) -> None:
    root = f"{place}/data"
    writers: list[Process] = []
    others = {
        name: [Process(name, root, draw.getrandbits(32)) for _ in range(2)]
        for name in ("read", "consume")
    }
    try:
        for turn in range(ROUNDS_A_DIRECTORY):
            while len(writers) < draw.choice([1, 2, 4]):
                writers.append(Process("write", root, draw.getrandbits(32)))
            _let_work(writers, others, ledger, draw.uniform(0.005, 0.15))
            _kill(writers, draw.randrange(len(writers)), ledger, totals)
            for name, processes in others.items():
                if draw.random() < 0.4:
                    _kill(processes, 0, ledger, totals)
                    processes.append(Process(name, root, draw.getrandbits(32)))
            if turn % CHECK_EVERY == 0:
                while writers:
                    _kill(writers, 0, ledger, totals)
                _check(root, ledger, whole=False)
    finally:
        for processes in (writers, *others.values()):
            while processes:
                _kill(processes, 0, ledger, totals)
    _check(root, ledger, whole=True)


def _kill(processes: list[Process], number: int, ledger: Ledger, totals: Counter[str]) -> None:
    processes.pop(number).kill(ledger)
    totals["kills"] += 1


def _let_work(
    writers: list[Process], others: dict[str, list[Process]], ledger: Ledger, seconds: float
) -> None:
    for process in (*writers, *others["read"], *others["consume"]):
        process.listen(ledger, seconds / 5)


def _check(root: str, ledger: Ledger, *, whole: bool) -> None:
    with Broker.open(root) as broker:
        ledger.check(broker, power_cut=False, whole=whole)
    assert not ledger.wrong, "\n".join(ledger.wrong[:20])
