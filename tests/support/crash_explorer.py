"""Visits the states that crashes in a workload may leave, and judges recovery from each.

The workload runs once on a recording seam; `support.disk_model` gives the states, told apart by
their bytes; `support.crash_judge` says whether recovery from one is right.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from merkql.storage import tail_page
from support.crash_judge import LIVE, Checks, CrashedAgainError, judge, seen_by_a_reader
from support.crash_oracle import Expectation, Seen
from support.crash_session import CrashSession, pinned
from support.disk_model import DiskModel, Image, write_image
from support.recorder import Entry

Workload = Callable[[CrashSession], None]


@dataclass
class Findings:
    """What an exploration saw."""

    states: int = 0
    distinct: int = 0
    failures: list[str] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)  # of the failures


@dataclass
class Limits:
    """How much of a workload's states to visit; the choice depends on the seed alone."""

    seed: int = 1
    visits: int = 200  # about how many states
    deep_share: float = 0.02  # of the visited states: crashes in their recovery too
    twice_share: float = 0.15  # of the visited states: read before recovery, and closed twice
    follow_share: float = 0.05  # of the recoveries that led to what is known: followed all the same
    readers_share: float = 0.1  # of the moments: read by another process meanwhile
    failures_max: int = 3
    begin: float = 0.0  # crashes before this part of the journal are left out
    only_last: bool = False  # crashes before the last ("mark", "operation") are left out
    news: bool = False  # between calls: of files just left alone, all or nothing
    state: str = ""  # visit this state alone


class _Crash(NamedTuple):
    power_cut: bool
    label: str
    make_image: Callable[[], Image]
    promised: int
    offered: int
    seen: Seen


class Explorer:
    """One workload, run once on a recording seam, and its crash states."""

    def __init__(
        self,
        scratch: str,
        workload: Workload,
        limits: Limits | None = None,
        plant: Callable[[pytest.MonkeyPatch], None] = lambda patch: None,
        seen: set[bytes] | None = None,
        known: set[bytes] | None = None,
    ) -> None:
        """Digests of states visited before, by other explorers too, and of what they led to."""
        self._scratch = scratch
        self._plant = plant
        self._limits = limits or Limits()
        self._rng = random.Random(self._limits.seed)
        self._seen: set[bytes] = set() if seen is None else seen
        self._known: set[bytes] = set() if known is None else known
        self._names = itertools.count()
        self._patch: pytest.MonkeyPatch
        self.findings = Findings()
        with pinned(self._limits.seed) as patch:
            plant(patch)
            root = self._fresh()
            os.makedirs(root)
            session = CrashSession(root)
            try:
                workload(session)
            finally:
                session.end()
            self.journal = session.files.journal
            self._models = session.models
            shutil.rmtree(root)
        self._model_digests = [_digest(repr(model)) for model in self._models]

    def run(self) -> Findings:
        """Visit a choice of the states; the same for the same seed."""
        limits = self._limits
        share = 1.0
        if limits.visits < 1 << 30:
            share = limits.visits / max(1, sum(1 for _ in self._crashes(reading=False)))
        with pinned(limits.seed) as self._patch:
            self._plant(self._patch)
            for crash in self._crashes(reading=True):
                self.findings.states += 1
                if share < 1 and self._rng.random() >= share:
                    continue
                image = crash.make_image()
                digest, live = self._key(image, crash)
                if not digest.hex().startswith(limits.state):
                    continue
                if {digest, live} <= self._seen and not limits.state:
                    continue
                self._seen |= {digest, live}
                self.findings.distinct += 1
                self._visit(crash, image, digest)
                if len(self.findings.failures) >= limits.failures_max:
                    break
        return self.findings

    def _crashes(self, *, reading: bool) -> Iterator[_Crash]:
        disk, limits = DiskModel(), self._limits
        rng = random.Random(limits.seed)
        promised = offered = 0
        seen: Seen = {}
        for number, entry in enumerate(self.journal):
            if entry[0] != "mark":
                disk.follow(entry)
            elif entry[1] == "begin":
                offered = entry[2]
                continue
            elif entry[1] == "done":
                promised = entry[2]
            if number < self._begin():
                continue
            if reading and self._rng.random() < limits.readers_share:
                self._read_beside(disk.running(), (offered, promised), seen, f"after {number}")
            where = f"after {number} {short(entry)}"
            yield _Crash(False, f"{where}: killed", disk.running, promised, offered, seen)
            news = limits.news and entry[0] != "mark"
            for label, make_image in disk.states(rng, news=news):
                text = f"{where}: power cut, {label}"
                yield _Crash(True, text, make_image, promised, offered, seen)

    def _begin(self) -> float:
        if not self._limits.only_last:
            return self._limits.begin * len(self.journal)
        marks = [n for n, entry in enumerate(self.journal) if entry[:2] == ("mark", "operation")]
        return marks[-1] if marks else 0

    def _read_beside(self, image: Image, models: tuple[int, int], seen: Seen, label: str) -> None:
        """What another process sees now has to be there after any crash from now on."""
        root = self._fresh()
        write_image(image, root)
        try:
            offered, promised = (self._models[number] for number in models)
            seen.update(seen_by_a_reader(root, offered, promised, self._patch))
        except Exception as error:
            self._fail(f"{label}: read beside the writer", error, image)
        shutil.rmtree(root)

    def _key(self, image: Image, crash: _Crash) -> tuple[bytes, bytes]:
        """The same for states that nobody should tell apart.

        The second: what the files of processes hold that a power cut ended. Nobody believes it, so
        each content is visited in one state, not in all.
        """
        digest = hashlib.blake2b(digest_size=16)
        digest.update(self._model_digests[crash.promised] + self._model_digests[crash.offered])
        digest.update(b"power" if crash.power_cut else b"kill")
        of_processes = hashlib.blake2b(digest_size=16)
        for name in sorted(image):
            content = image[name]
            if name.startswith("lock") and content:
                content = b"a process id"
            elif content and name.endswith("/tail"):
                content = _as_page(content)
            one = of_processes if name in LIVE and crash.power_cut else digest
            one.update(name.encode() + (b"/" if content is None else b"\0%d " % len(content)))
            one.update(_digest_of(content) if content else b"")
        return digest.digest(), of_processes.digest()

    def _visit(self, crash: _Crash, image: Image, digest: bytes) -> None:
        root = self._fresh()
        write_image(image, root)
        limits, draw = self._limits, random.Random(digest)
        alone = bool(limits.state)
        checks = Checks(
            twice=alone or draw.random() < limits.twice_share,
            deep=alone or draw.random() < limits.deep_share,
            scratch=self._fresh(),
            rng=draw,
            known=self._known,
            follow_share=1.0 if alone else limits.follow_share,
        )
        promised, offered = self._models[crash.promised], self._models[crash.offered]
        expectation = Expectation(promised, offered, crash.power_cut, dict(crash.seen))
        try:
            judge(root, expectation, self._patch, checks)
        except Exception as error:
            self._fail(f"{crash.label}\n    state {digest.hex()}", error, image)
        finally:
            shutil.rmtree(root, ignore_errors=True)
            shutil.rmtree(checks.scratch, ignore_errors=True)

    def _fail(self, label: str, error: Exception, image: Image) -> None:
        text = f"{label}\n    {type(error).__name__}: {error}"
        if isinstance(error, CrashedAgainError):
            text += f"\n    {type(error.__cause__).__name__}: {error.__cause__}"
        self.findings.failures.append(text)
        self.findings.images.append(image)

    def _fresh(self) -> str:
        return os.path.join(self._scratch, str(next(self._names)))


def _as_page(content: bytes) -> bytes:
    """A tail page that does not check out is none; behind one that does stands nothing."""
    state = tail_page.decode(content)
    return b"unsound" if state is None else repr(state).encode()


@functools.lru_cache(maxsize=4000)
def _digest_of(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def short(entry: Entry) -> str:
    """A journal's line for people."""
    return " ".join(
        f"{len(part)} bytes" if isinstance(part, bytes) else str(part) for part in entry
    )
