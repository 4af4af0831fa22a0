"""Opens what a crash left, again and again, and compares each time.

Opened as a reader would before anybody recovers; recovered; recovered again, to the same bytes;
written to and cut off; closed; opened as a clean close left it. And crashes within the recovery,
and right after the writes that follow it.

Most states lead to a few recovered directories. One whose bytes, and whose broker's offsets and
roots, came out of another state already, with the same promises, is not followed further, but for
a share of them.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from dataclasses import dataclass, field, replace

import pytest

from merkql import BrokerConfig, FormatError
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

LIVE = {"lock", "lock.queue", "lock.sharers", "lock.alone", "state"}  # of processes, not the log
TWICE_SHARE = 0.5  # of the recovered directories: recovered again, byte for byte
TOLD = "topics/__erasures/"  # a recovery that finishes an erasure writes there, as anybody does
DEEP_MOMENTS = 5  # about so many moments in a recovery at which it is cut short


@dataclass
class Checks:
    """What is looked at besides."""

    twice: bool  # read before recovery; recovered twice
    deep: bool  # crashes in the recovery and after it
    scratch: str  # a directory that is not there yet
    rng: random.Random
    known: set[bytes] = field(default_factory=set)  # what recoveries led to before
    follow_share: float = 0.05  # of the recoveries to what is known: followed all the same


class CrashedAgainError(Exception):
    """Its cause came up after a second crash, of which it says where."""


def judge(root: str, expectation: Expectation, patch: pytest.MonkeyPatch, checks: Checks) -> None:
    """``AssertionError``, or what the engine raises, where a promise is broken."""
    reboot(patch, 2 if expectation.power_cut else 1)
    if checks.twice:
        check_readers_before_recovery(root, expectation)
    if checks.deep:
        _check_crashes_in_recovery(root, expectation, patch, checks)
    _follow(root, expectation, patch, checks)


def _follow(
    root: str,
    expectation: Expectation,
    patch: pytest.MonkeyPatch,
    checks: Checks,
    who: str = "first",
) -> None:
    """Recover; and unless it led to what is known, compare, append, crash, and open again."""
    _draw_anew(patch, who)
    told = os.path.exists(os.path.join(root, "erasing"))
    broker = Broker(BrokerConfig(root), VolatileFiles())
    try:
        outcome = _outcome(broker, root, expectation)
        known = outcome in checks.known
        if known and checks.rng.random() >= checks.follow_share:
            return
        checks.known.add(outcome)
        held = check_broker(broker, expectation)
        if checks.rng.random() < TWICE_SHARE:
            check_same_again(root, expectation, patch, (checks.scratch, told))
        append_more(broker.producer(), held)
    finally:
        _drop(broker)  # the second crash, of the process
    exactly = _with_commits(held, expectation)
    _draw_anew(patch, f"after the {who}")
    for _ in range(1 + checks.twice):  # recovered again, then after a clean close
        with Broker(BrokerConfig(root), VolatileFiles()) as broker:
            check_broker(broker, exactly)
    check_leftovers(root)


def _outcome(broker: Broker, root: str, expectation: Expectation) -> bytes:
    """What a recovery led to, in a few bytes; all partitions are open after it."""
    digest = hashlib.blake2b(expectation.digest(), digest_size=16)
    for name in broker.topics():
        for one in broker.topic(name).partitions():
            place = (name, one.index, one.start_offset, one.end_offset, one.root())
            digest.update(repr(place).encode())
    for name, content in sorted(read_image(root).items()):
        if name not in LIVE:
            size = -1 if content is None else len(content)
            digest.update(b"%s %d " % (name.encode(), size))
            digest.update(_nameless(name, content) or b"")
    return digest.digest()


def _nameless(name: str, content: bytes | None) -> bytes | None:
    """Without the writer's number, and the checksum over it, where the file is a tail page."""
    if not content or not name.endswith("/tail"):
        return content
    return content[:8] + bytes(8) + content[16:32] + bytes(8) + content[40:]


def _draw_anew(patch: pytest.MonkeyPatch, who: str) -> None:
    """Random numbers that are each broker's own and depend on nothing visited before."""
    patch.setattr(os, "urandom", random.Random(who).randbytes)


def _drop(broker: Broker) -> None:
    broker._engine.abandon()
    broker.closed = True


def recover_and_append(root: str, files: RecordingFiles, expectation: Expectation) -> Expectation:
    """Recover, compare, append; then die. What has to be there afterwards, exactly."""
    broker = Broker(BrokerConfig(root), files)
    try:
        held = check_broker(broker, expectation)
        files.mark("recovered", held.copy())
        append_more(broker.producer(), held)
        files.mark("appended")
    finally:
        _drop(broker)
    return _with_commits(held, expectation)


def check_readers_before_recovery(root: str, expectation: Expectation) -> None:
    """They serve nothing that may be gone later, and write nothing."""
    before = read_image(root)
    if "merkql.json" in before:
        with Broker(BrokerConfig(root, read_only=True), VolatileFiles()) as reader:
            check_reader(reader, expectation.offered, expectation.promised)
    else:  # it died over the directory itself
        assert not expectation.promised.topics, "the directory of promised records has no mark"
        with pytest.raises(FormatError):
            Broker(BrokerConfig(root, read_only=True), VolatileFiles())
    assert read_image(root) == before, "a reader wrote"


def seen_by_a_reader(
    root: str, offered: LogModel, promised: LogModel, patch: pytest.MonkeyPatch
) -> Seen:
    """What a process that reads beside the writer is shown: the end of each partition.

    A topic that is being deleted, offered no more, may still be there.
    """
    reboot(patch, 1)
    if not os.path.exists(os.path.join(root, "merkql.json")):
        return {}
    with Broker(BrokerConfig(root, read_only=True), VolatileFiles()) as reader:
        return check_reader(reader, offered, promised)


def check_same_again(
    root: str, expectation: Expectation, patch: pytest.MonkeyPatch, place: tuple[str, bool]
) -> None:
    """What was recovered, and is recovered again, keeps its bytes.

    ``place``: where to try it; and whether the first recovery wrote to the log of erasures. What a
    write leaves unsettled of that topic may settle: nothing else, and no record.
    """
    scratch, told = place
    shutil.copytree(root, scratch)
    first = read_image(scratch)
    with patch.context() as inner:
        _draw_anew(inner, "another")
        broker = Broker(BrokerConfig(scratch), VolatileFiles())
        try:
            check_broker(broker, expectation)
        finally:
            _drop(broker)
    second = read_image(scratch)
    different = [  # an empty file, of an index for one, may as well not be there
        name
        for name in {**first, **second}
        if name not in LIVE
        and (_nameless(name, first.get(name)) or b"") != (_nameless(name, second.get(name)) or b"")
        and not (told and name.startswith(TOLD) and _settles(name, first, second))
    ]
    shutil.rmtree(scratch)
    assert not different, f"recovered twice, other bytes in {different}"


def _settles(name: str, first: dict[str, bytes | None], second: dict[str, bytes | None]) -> bool:
    """Whether the second is what a written file becomes when the space set aside is given back.

    An index and a tree may lag behind, and are brought up to the records; a tail page is derived.
    """
    before, after = ((one.get(name) or b"").rstrip(b"\0") for one in (first, second))
    if name.endswith("/tail"):
        return True
    if name.endswith(".index") or "/tree/" in name:
        return after.startswith(before)
    return name.endswith(".log") and before == after


def _check_crashes_in_recovery(
    root: str, expectation: Expectation, patch: pytest.MonkeyPatch, checks: Checks
) -> None:
    """Power cuts in the recovery, and after the appends that follow it, one level deep."""
    shutil.copytree(root, checks.scratch)
    files = RecordingFiles(checks.scratch)
    _draw_anew(patch, "cut off")
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
            inner = replace(checks, twice=False, deep=False, scratch=f"{checks.scratch}.again")
            try:
                _follow(checks.scratch, now, patch, inner, "first after both")
            except Exception as error:
                raise CrashedAgainError(f"after {number} {entry[:3]}: {label}") from error
            finally:
                shutil.rmtree(checks.scratch)
                shutil.rmtree(inner.scratch, ignore_errors=True)
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
