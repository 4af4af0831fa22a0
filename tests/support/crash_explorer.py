"""Visits the states that crashes in a workload may leave, and judges recovery from each.

From every state: open, compare, append, crash again, open, compare, close, open. From some: crash
in the middle of the recovery, one level deep.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from merkql import BrokerConfig
from merkql.broker import Broker
from merkql.storage.files import VolatileFiles
from support.crash_oracle import Expectation, append_more, check_broker
from support.crash_session import CrashSession, pinned, reboot
from support.disk_model import DiskModel, Image, write_image
from support.log_model import LogModel
from support.recorder import RecordingFiles

Workload = Callable[[CrashSession], None]


@dataclass
class Findings:
    """What an exploration saw."""

    states: int = 0
    distinct: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass
class Limits:
    """How much of a workload's states to visit; the choice depends on the seed alone."""

    seed: int = 1
    visits: int = 200  # about how many states
    deep_share: float = 0.02  # of the visited states: crashes in their recovery too
    failures_max: int = 3
    begin: float = 0.0  # crashes before this part of the journal are left out


class Explorer:
    """One workload, run once on a recording seam, and its crash states."""

    def __init__(
        self,
        scratch: str,
        workload: Workload,
        limits: Limits | None = None,
        plant: Callable[[pytest.MonkeyPatch], None] = lambda patch: None,
    ) -> None:
        self._scratch = scratch
        self._plant = plant
        self._limits = limits or Limits()
        self._rng = random.Random(self._limits.seed)
        self._seen: set[bytes] = set()
        self._names = itertools.count()
        self.findings = Findings()
        with pinned(self._limits.seed) as patch:
            plant(patch)
            root = self._fresh()
            os.makedirs(root)
            session = CrashSession(root)
            workload(session)
            if not session.broker.closed:
                session.broker._engine.abandon()
                session.broker.closed = True
            self.journal = session.files.journal
            self._models = session.models
            shutil.rmtree(root)

    def run(self) -> Findings:
        """Visit a choice of the states; the same for the same seed."""
        total = sum(1 for _ in self._crashes())
        share = self._limits.visits / total
        with pinned(self._limits.seed) as self._patch:
            self._plant(self._patch)
            for power_cut, label, make_image, promised, offered in self._crashes():
                self.findings.states += 1
                if self._rng.random() >= share:
                    continue
                image = make_image()
                if not self._is_new(image, (power_cut, promised, offered)):
                    continue
                self.findings.distinct += 1
                self._visit(
                    label,
                    image,
                    Expectation(self._models[promised], self._models[offered], power_cut),
                )
                if len(self.findings.failures) >= self._limits.failures_max:
                    break
        return self.findings

    def _crashes(self) -> Iterator[tuple[bool, str, Callable[[], Image], int, int]]:
        disk = DiskModel()
        rng = random.Random(self._limits.seed)
        promised = offered = 0
        for number, entry in enumerate(self.journal):
            if entry[0] != "mark":
                disk.follow(entry)
            elif entry[1] == "begin":
                offered = entry[2]
                continue
            else:
                promised = entry[2]
            if number < self._limits.begin * len(self.journal):
                continue
            where = f"after {number} {_short(entry)}"
            yield False, f"{where}: killed", disk.running, promised, offered
            for label, make_image in disk.states(rng):
                yield True, f"{where}: power cut, {label}", make_image, promised, offered

    def _is_new(self, image: Image, rest: object) -> bool:
        digest = hashlib.blake2b(repr(rest).encode(), digest_size=16)
        for name in sorted(image):
            content = image[name]
            digest.update(name.encode() + (b"/" if content is None else b"\0%d " % len(content)))
            digest.update(content or b"")
        key = digest.digest()
        new = key not in self._seen
        self._seen.add(key)
        return new

    def _visit(self, label: str, image: Image, expectation: Expectation) -> None:
        root = self._fresh()
        write_image(image, root)
        deep = self._rng.random() < self._limits.deep_share
        files = RecordingFiles(root) if deep else VolatileFiles()
        disk = DiskModel(root, files.names()) if isinstance(files, RecordingFiles) else None
        try:
            judge(root, files, expectation, self._patch)
        except Exception as error:
            self.findings.failures.append(f"{label}\n    {type(error).__name__}: {error}")
        else:
            if disk is not None and isinstance(files, RecordingFiles):
                self._visit_recovery(label, disk, files, expectation)
        shutil.rmtree(root)

    def _visit_recovery(
        self, label: str, disk: DiskModel, files: RecordingFiles, expectation: Expectation
    ) -> None:
        """Crash states within the recovery that `judge` just did: up to its first mark."""
        for number, entry in enumerate(files.journal):
            if entry[0] == "mark":
                return
            disk.follow(entry)
            states = list(disk.states(self._rng))
            for below, make_image in self._rng.sample(states, min(3, len(states))):
                root = self._fresh()
                write_image(make_image(), root)
                try:
                    judge(root, VolatileFiles(), expectation, self._patch)
                except Exception as error:
                    self.findings.failures.append(
                        f"{label}\n  and again in its recovery after {number} {_short(entry)}: "
                        f"{below}\n    {type(error).__name__}: {error}"
                    )
                    return
                finally:
                    shutil.rmtree(root)

    def _fresh(self) -> str:
        return os.path.join(self._scratch, str(next(self._names)))


def judge(
    root: str,
    files: VolatileFiles | RecordingFiles,
    expectation: Expectation,
    patch: pytest.MonkeyPatch,
) -> None:
    """Open what a crash left, three times, and compare; ``AssertionError`` where it is wrong."""
    reboot(patch, 2 if expectation.power_cut else 1)
    broker = Broker(BrokerConfig(root), files)
    try:
        if isinstance(files, RecordingFiles):
            files.mark("recovered")
        held = check_broker(broker, expectation)
        append_more(broker.producer(), held)
    finally:
        broker._engine.abandon()  # the second crash, of the process
        broker.closed = True
    exactly = _with_commits(held, expectation)
    for _ in range(2):  # recovered again, then after a clean close
        with Broker(BrokerConfig(root), files) as broker:
            check_broker(broker, exactly)


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


def _short(entry: tuple[object, ...]) -> str:
    return " ".join(
        f"{len(part)} bytes" if isinstance(part, bytes) else str(part) for part in entry
    )
