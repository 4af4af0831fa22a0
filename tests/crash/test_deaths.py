"""A writer dies at each of its file operations in turn, and another that was there goes on.

Goal: wherever a process is killed, who takes the writer role next loses nothing that was
acknowledged, gives no offset twice, and shows the log that a reopened one shows. Method: two
brokers of one process; from the n-th operation on nothing of the first reaches the disk, then its
locks are freed as the kernel frees them, n = 0, 1, 2 … until the work gets through.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from crash.test_failing_operations import (
    JOBS,
    TURNS_MAX,
    Acknowledged,
    Work,
    check,
    prepare,
    root,
    sends,
)
from merkql import Broker, BrokerConfig, MerkqlError
from support.faulty_files import CHANGING, FaultyFiles

__all__ = ["root"]  # the fixture

STRIDE = 6  # the tests that run by default take every so many operations
Roots = dict[tuple[str, int], tuple[int, bytes]]


def deletes(work: Work) -> None:
    """A topic goes, and another of its name comes."""
    work.broker.delete_topic("doomed")
    work.broker.create_topic("doomed", partitions=2)
    work.broker.producer().send("doomed", b"again", partition=1)


def shrinks(work: Work) -> None:
    work.send()
    work.broker._engine.shrink_wal()
    work.send()


def leaves(work: Work) -> None:
    work.send()
    work.broker.close()


def alters(work: Work) -> None:
    work.broker.topic("small").alter(segment_bytes=8192, durability="disk")
    work.send("small")
    work.broker.topic("small").alter(durability="fsync")
    work.send("small")


ALL_JOBS = [*JOBS, deletes, shrinks, leaves, alters]


def die(path: Path, job: Callable[[Work], None], turn: int, known: Acknowledged) -> bool:
    """Whether the work was cut short by the death of its broker."""
    files = FaultyFiles((*CHANGING, "link"), lasting=True)
    broker = Broker(BrokerConfig(path), files)
    files.arm(turn)
    try:
        job(Work(broker, known))
    except (OSError, MerkqlError):
        pass
    broker._engine.abandon()
    broker.closed = True
    return bool(files.failed)


def roots_of(broker: Broker) -> Roots:
    return {
        (name, partition.index): (partition.end_offset, partition.root())
        for name in broker.topics()
        for partition in broker.topic(name).partitions()
    }


def go_on_after_each_death(
    root: Path, job: Callable[[Work], None], turns: range, *, looks: bool
) -> None:
    for turn in turns:
        path, known = root / str(turn), Acknowledged()
        prepare(path, known)
        with Broker(BrokerConfig(path)) as survivor:
            survivor.create_topic("doomed")
            Work(survivor, known, 2000).batch()
            died = die(path, job, turn, known)
            if looks:
                check(survivor, known)
            Work(survivor, known, 5000).batch()
            Work(survivor, known, 6000).send("small", size=3000)
            check(survivor, known)
            survivor.create_topic("after")
            left = roots_of(survivor)
        assert not list((path / "wal").iterdir())
        with Broker(BrokerConfig(path)) as again:
            assert roots_of(again) == left
            check(again, known)
        shutil.rmtree(path)
        if not died:
            return
    raise AssertionError(f"not through after {TURNS_MAX} operations")


@pytest.mark.parametrize("job", ALL_JOBS, ids=lambda job: job.__name__)
def test_who_was_there_goes_on_after_a_death(root: Path, job: Callable[[Work], None]) -> None:
    first = ALL_JOBS.index(job) % STRIDE
    go_on_after_each_death(root, job, range(first, TURNS_MAX, STRIDE), looks=bool(first % 2))


@pytest.mark.slow
@pytest.mark.parametrize("looks", [False, True], ids=["writes", "looks"])
@pytest.mark.parametrize("job", ALL_JOBS, ids=lambda job: job.__name__)
def test_who_was_there_goes_on_after_any_death(
    root: Path, job: Callable[[Work], None], looks: bool
) -> None:
    go_on_after_each_death(root, job, range(TURNS_MAX), looks=looks)


def test_who_comes_while_the_dead_ones_group_is_unfinished_sees_all(root: Path) -> None:
    """A third one opens before the survivor had a turn."""
    for turn in range(TURNS_MAX):
        path, known = root / str(turn), Acknowledged()
        prepare(path, known)
        with Broker(BrokerConfig(path)) as survivor:
            Work(survivor, known, 2000).batch()
            died = die(path, sends, turn, known)
            with Broker(BrokerConfig(path)) as third:
                check(third, known)
                Work(third, known, 3000).batch()
                Work(survivor, known, 5000).batch()
                check(third, known)
                check(survivor, known)
                assert roots_of(survivor) == roots_of(third)
        shutil.rmtree(path)
        if not died:
            return
    raise AssertionError(f"not through after {TURNS_MAX} operations")
