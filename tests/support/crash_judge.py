"""Opens what a crash left, again and again, and compares each time.

Opened as a reader would before anybody recovers; recovered; recovered again, to the same bytes;
written to and cut off; closed; opened as a clean close left it. And crashes within the recovery,
and right after the writes that follow it.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass, replace

import pytest

from merkql import BrokerConfig
from merkql.broker import Broker
from merkql.storage.files import VolatileFiles
from support.crash_oracle import (
    Expectation,
    Seen,
    append_more,
    check_broker,
    check_leftovers,
    check_reader,
)
from support.crash_session import reboot
from support.disk_model import DiskModel, read_image, write_image
from support.log_model import LogModel
from support.recorder import RecordingFiles

LIVE = {"lock", "lock.queue", "lock.sharers", "state"}  # of processes, not of the log
DEEP_MOMENTS = 5  # about so many moments in a recovery at which it is cut short


@dataclass
class Checks:
    """What is looked at besides."""

    twice: bool  # read before recovery; recovered twice
    deep: bool  # crashes in the recovery and after it
    scratch: str  # a directory that is not there yet
    rng: random.Random


class CrashedAgainError(Exception):
    """Its cause came up after a second crash, of which it says where."""


def judge(root: str, expectation: Expectation, patch: pytest.MonkeyPatch, checks: Checks) -> None:
    """``AssertionError``, or what the engine raises, where a promise is broken."""
    reboot(patch, 2 if expectation.power_cut else 1)
    if checks.twice:
        check_readers_before_recovery(root, expectation)
        check_twice(root, expectation, patch, checks.scratch)
    if checks.deep:
        _check_crashes_in_recovery(root, expectation, patch, checks)
    exactly = recover_and_append(root, VolatileFiles(), expectation)
    for _ in range(1 + checks.twice):  # recovered again, then after a clean close
        with Broker(BrokerConfig(root), VolatileFiles()) as broker:
            check_broker(broker, exactly)
    check_leftovers(root)


def recover_and_append(
    root: str, files: VolatileFiles | RecordingFiles, expectation: Expectation
) -> Expectation:
    """Recover, compare, append; then die. What has to be there afterwards, exactly."""
    broker = Broker(BrokerConfig(root), files)
    try:
        held = check_broker(broker, expectation)
        if isinstance(files, RecordingFiles):
            files.mark("recovered", held.copy())
        append_more(broker.producer(), held)
        if isinstance(files, RecordingFiles):
            files.mark("appended")
    finally:
        broker._engine.abandon()  # the second crash, of the process
        broker.closed = True
    return _with_commits(held, expectation)


def check_readers_before_recovery(root: str, expectation: Expectation) -> None:
    """They serve nothing that may be gone later, and write nothing."""
    before = read_image(root)
    with Broker(BrokerConfig(root, read_only=True), VolatileFiles()) as reader:
        check_reader(reader, expectation.offered, expectation.promised)
    assert read_image(root) == before, "a reader wrote"


def seen_by_a_reader(root: str, offered: LogModel, patch: pytest.MonkeyPatch) -> Seen:
    """What a process that reads beside the writer is shown: the end of each partition."""
    reboot(patch, 1)
    if not os.path.exists(os.path.join(root, "merkql.json")):
        return {}
    with Broker(BrokerConfig(root, read_only=True), VolatileFiles()) as reader:
        return check_reader(reader, offered)


def check_twice(
    root: str, expectation: Expectation, patch: pytest.MonkeyPatch, scratch: str
) -> None:
    """Recovered twice, the directory has the same bytes as recovered once."""
    shutil.copytree(root, scratch)
    images = []
    for _ in range(2):
        with patch.context() as inner:  # the writer's number is drawn, and on the tail pages
            inner.setattr(os, "urandom", random.Random(1).randbytes)
            broker = Broker(BrokerConfig(scratch), VolatileFiles())
            try:
                check_broker(broker, expectation)
            finally:
                broker._engine.abandon()
                broker.closed = True
        images.append(read_image(scratch))
    first, second = images
    different = [  # an empty file, of an index for one, may as well not be there
        name
        for name in {**first, **second}
        if name not in LIVE and (first.get(name) or b"") != (second.get(name) or b"")
    ]
    shutil.rmtree(scratch)
    assert not different, f"recovered twice, other bytes in {different}"


def _check_crashes_in_recovery(
    root: str, expectation: Expectation, patch: pytest.MonkeyPatch, checks: Checks
) -> None:
    """Power cuts in the recovery, and after the appends that follow it, one level deep."""
    shutil.copytree(root, checks.scratch)
    files = RecordingFiles(checks.scratch)
    disk = DiskModel(checks.scratch, files.names())
    after = recover_and_append(checks.scratch, files, expectation)
    shutil.rmtree(checks.scratch)
    now = expectation
    share = DEEP_MOMENTS / len(files.journal)
    for number, entry in enumerate(files.journal):
        if entry[:2] == ("mark", "recovered"):  # what is there is durable, and appends follow
            recovered = _with_commits(entry[2], expectation).promised
            now = Expectation(recovered, after.offered, power_cut=True, seen=expectation.seen)
        elif entry == ("mark", "appended"):
            now = replace(after, power_cut=True)
        if entry[0] == "mark":
            continue
        disk.follow(entry)
        if checks.rng.random() >= share:
            continue
        states = list(disk.states(checks.rng))
        for label, make_image in checks.rng.sample(states, min(3, len(states))):
            write_image(make_image(), checks.scratch)
            reboot(patch, 3)
            try:
                exactly = recover_and_append(checks.scratch, VolatileFiles(), now)
                with Broker(BrokerConfig(checks.scratch), VolatileFiles()) as broker:
                    check_broker(broker, exactly)
                check_leftovers(checks.scratch)
            except Exception as error:
                raise CrashedAgainError(f"after {number} {entry[:3]}: {label}") from error
            finally:
                shutil.rmtree(checks.scratch)
    reboot(patch, 2 if expectation.power_cut else 1)


def _with_commits(held: LogModel, expectation: Expectation) -> Expectation:
    after = held.copy()
    for one in (expectation.promised, expectation.offered):
        for name, topic in one.topics.items():
            if name in after.topics:
                for mine, theirs in zip(
                    after.topics[name].partitions, topic.partitions, strict=False
                ):
                    mine.start = max(mine.start, theirs.start)
    before = after.copy()
    before.committed = expectation.promised.committed
    after.committed = expectation.offered.committed
    return Expectation(before, after, power_cut=False)
