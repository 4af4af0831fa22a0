"""The operations that crash sequences are made of, and the directory they begin with.

Sequences are every word of so many letters over `OPERATIONS`. An operation that has nothing to
work on where it stands (a topic that was deleted) makes its sequence *void*.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Iterator

from support.crash_explorer import Workload
from support.crash_session import CrashSession
from support.log_model import Event

Operation = Callable[[CrashSession], None]


class VoidError(Exception):
    """The operation has nothing to work on."""


def prepare(session: CrashSession) -> None:
    """Two topics: one that retains the last few records of two segments, one LZ4 and erasable."""
    session.create("a", 2, max_records=4, segment_bytes=4096)
    session.create("z", compression="lz4", erasable=True)
    session.send("a", 0, _events(session, "a", 0, 3, 900))
    session.send("a", 0, _events(session, "a", 0, 3, 900))
    session.batch([("z", 0, event) for event in _events(session, "z", 0, 2, 100)])
    session.tend()


def append(session: CrashSession) -> None:
    _send(session, "a", 0, 1, 20)


def append_across_sectors(session: CrashSession) -> None:
    _send(session, "a", 1, 2, 900)


def batch(session: CrashSession) -> None:
    """Over every partition there is."""
    placed = [
        (topic, partition, event)
        for topic, model in _existing(session).items()
        for partition in range(len(model.partitions))
        for event in _events(session, topic, partition, 2, 30)
    ]
    session.batch(placed)


def lz4_batch(session: CrashSession) -> None:
    _send(session, "z", 0, 20, 200)


def roll(session: CrashSession) -> None:
    """More than the segment still takes: it is sealed, and the next begun."""
    _send(session, "a", 0, 4, 1000)


def retention(session: CrashSession) -> None:
    session.retain()


def compact(session: CrashSession) -> None:
    _needs(session, "a")
    session.compact("a")


def create(session: CrashSession) -> None:
    """The topic that was deleted, under its old name; else a new one."""
    for name in ("a", "z", "n"):
        if name not in session.models[-1].topics:
            session.create(name, 2)
            return
    raise VoidError


def delete(session: CrashSession) -> None:
    for name in ("a", "z", "n"):
        if name in session.models[-1].topics:
            session.delete(name)
            return
    raise VoidError


def add_partitions(session: CrashSession) -> None:
    _needs(session, "a")
    session.add_partitions("a", len(session.models[-1].topics["a"].partitions) + 1)


def commit(session: CrashSession) -> None:
    _needs(session, "a")
    committed = session.models[-1].committed.get(("g", "a", 0), 0)
    session.commit("g", "a", 0, committed + 1)


def checkpoint(session: CrashSession) -> None:
    """Of records that retention removes, and, signed twice, of the same ones."""
    _needs(session, "a")
    if importlib.util.find_spec("cryptography") is None:
        raise VoidError("signatures need the package cryptography")
    session.checkpoint("a", 0)


def erase(session: CrashSession) -> None:
    """The first record that is there still, of a segment that ends with it, or in the middle."""
    _needs(session, "z")
    one = session.models[-1].topics["z"].partitions[0]
    left = [offset for offset in range(len(one.events())) if offset not in one.erased]
    if not left:
        raise VoidError("every record is erased")
    session.erase("z", 0, left[0])


def erase_key(session: CrashSession) -> None:
    """The last record, which is in the write-ahead log too."""
    _needs(session, "z")
    one = session.models[-1].topics["z"].partitions[0]
    events = one.events()
    if not events or len(events) - 1 in one.erased:
        raise VoidError("the last record is erased")
    session.erase_key("z", events[-1].key)


def close(session: CrashSession) -> None:
    session.reopen()


def kill(session: CrashSession) -> None:
    """The process dies, and another goes on."""
    session.crash_and_reopen()


def background(session: CrashSession) -> None:
    """What the maintenance thread does: syncs, recycles the WAL."""
    session.tend()


def failed_sync(session: CrashSession) -> None:
    """The disk refuses one sync and loses what it covered."""
    _needs(session, "a")
    session.send_with_failing_sync("a", 0, *_events(session, "a", 0, 1, 20))


def hand_over(session: CrashSession) -> None:
    """Another process writes, and goes on; the one before stays there and does nothing."""
    _needs(session, "a")
    session.hand_over("a", 0, *_events(session, "a", 0, 1, 20))


# A further letter for a further feature: a function here, and a method of `CrashSession` that says
# what the call promises.
OPERATIONS: dict[str, Operation] = {
    one.__name__: one
    for one in (
        append,
        append_across_sectors,
        batch,
        lz4_batch,
        roll,
        retention,
        compact,
        create,
        delete,
        add_partitions,
        commit,
        checkpoint,
        erase,
        erase_key,
        close,
        kill,
        background,
        failed_sync,
        hand_over,
    )
}


def sequences(length: int) -> Iterator[tuple[str, ...]]:
    """Every sequence of so many operations, void ones too."""
    return itertools.product(OPERATIONS, repeat=length)


def workload(names: tuple[str, ...]) -> Workload:
    """The sequence as a workload; it raises `VoidError` where it makes no sense."""

    def run(session: CrashSession) -> None:
        prepare(session)
        for name in names:
            session.operation(name)
            OPERATIONS[name](session)

    run.__name__ = ",".join(names) or "nothing"
    return run


def _needs(session: CrashSession, topic: str) -> None:
    if topic not in session.models[-1].topics:
        raise VoidError(topic)


def _existing(session: CrashSession) -> dict[str, object]:
    topics = session.models[-1].topics
    if not topics:
        raise VoidError
    return dict(topics)


def _send(session: CrashSession, topic: str, partition: int, count: int, size: int) -> None:
    _needs(session, topic)
    session.send(topic, partition, _events(session, topic, partition, count, size))


def _events(
    session: CrashSession, topic: str, partition: int, count: int, size: int
) -> list[Event]:
    """The next records of a partition: told apart, the same in every run."""
    first = len(session.models[-1].topics[topic].partitions[partition].events())
    return [
        Event(
            f"{topic}/{partition}/{n}:".encode().ljust(size, b"."),
            b"k%d" % n,
            1_700_000_000_000 + n,
        )
        for n in range(first, first + count)
    ]
