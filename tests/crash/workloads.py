"""Short sequences of calls whose every crash state is visited, by name.

Most known crash bugs need three operations or fewer and a crash right after a sync, so these are
short, and each adds one thing.
"""

from __future__ import annotations

from support.crash_session import CrashSession
from support.log_model import Event


def events(count: int, size: int = 20, *, first: int = 0) -> list[Event]:
    """Distinct records of about ``size`` bytes."""
    return [
        Event(f"{n}:".encode().ljust(size, b"."), b"k%d" % n, 1_700_000_000_000 + n)
        for n in range(first, first + count)
    ]


def one_small_append(session: CrashSession) -> None:
    session.create("t")
    session.send("t", 0, events(1))
    session.send("t", 0, events(1, first=1))


def append_spanning_sectors(session: CrashSession) -> None:
    session.create("t")
    session.send("t", 0, events(3, 900))
    session.send("t", 0, events(2, 900, first=3))
    session.tend()
    session.send("t", 0, events(1, 900, first=5))


def batch_over_partitions(session: CrashSession) -> None:
    session.create("t", 3)
    session.create("u")
    placed = [("t", n % 3, e) for n, e in enumerate(events(7))]
    session.batch([*placed, ("u", 0, Event(None, b"key", headers=(("h", None), ("i", b"x"))))])
    session.batch([("t", 2, Event(b"more")), ("t", 0, Event(b"more"))])


def compressed_batch(session: CrashSession) -> None:
    session.create("t", compression="lz4")
    session.send("t", 0, events(40, 200))
    session.send("t", 0, events(3, 200, first=40))


def wal_files_change(session: CrashSession) -> None:
    """More groups than a WAL file holds: the next is made, and later the first is used again."""
    session.create("t")
    for n in range(6):
        session.send("t", 0, events(1, 3000, first=n))
        if n in (2, 3):
            session.tend()
    for n in range(6, 10):
        session.send("t", 0, events(1, 3000, first=n))


def index_and_tree_lag(session: CrashSession) -> None:
    """The WAL forgets what the segment has, while index and tree are synced now and then only."""
    session.create("t")
    for n in range(7):
        session.send("t", 0, events(2, 1500, first=2 * n))
        session.tend()
    session.crash_and_reopen()
    session.send("t", 0, events(1, 1500, first=14))
    session.tend()
    session.send("t", 0, events(1, first=15))


def crash_then_write(session: CrashSession) -> None:
    """WAL files of a session that died are used by the next."""
    session.create("t")
    for n in range(3):
        session.send("t", 0, events(1, 900, first=n))
    session.crash_and_reopen()
    session.send("t", 0, events(2, 900, first=3))
    session.crash_and_reopen()
    session.send("t", 0, events(1, 900, first=5))


def roll(session: CrashSession) -> None:
    session.create("t", segment_bytes=4096)
    for n in range(5):
        session.send("t", 0, events(2, 900, first=2 * n))
    session.tend()
    session.send("t", 0, events(1, 900, first=10))


def retention(session: CrashSession) -> None:
    """Enough records that the tree has a second level, of which the first segments go."""
    session.create("t", max_records=5, segment_bytes=4096)
    for n in range(6):
        session.send("t", 0, events(4, 900, first=4 * n))
        if n == 2:
            session.tend()
    session.retain()
    session.send("t", 0, events(1, 900, first=24))


def compaction(session: CrashSession) -> None:
    session.create("t", max_records=6, segment_bytes=4096)
    for n in range(4):
        session.send("t", 0, events(4, 700, first=4 * n))
    session.compact("t")
    session.send("t", 0, events(2, 700, first=16))


def retention_altered(session: CrashSession) -> None:
    session.create("t", max_records=2, segment_bytes=4096)
    session.send("t", 0, events(5))
    session.alter_retention("t", 100)
    session.send("t", 0, events(1, first=5))


def delete_and_create_again(session: CrashSession) -> None:
    session.create("t")
    session.create("u")
    session.send("t", 0, events(3))
    session.send("u", 0, events(2))
    session.delete("t")
    session.create("t", 2)
    session.send("t", 1, events(2, first=50))


def partitions_added(session: CrashSession) -> None:
    session.create("t")
    session.send("t", 0, events(2))
    session.add_partitions("t", 3)
    session.send("t", 2, events(2, first=2))


def offsets_committed(session: CrashSession) -> None:
    session.create("t")
    session.send("t", 0, events(5))
    for offset in (1, 3, 2):
        session.commit("g", "t", 0, offset)


def clean_close(session: CrashSession) -> None:
    session.create("t", 2)
    session.send("t", 0, events(3))
    session.reopen()
    session.send("t", 1, events(1, first=3))
    session.reopen()
    session.close()


def group_of_several_batches(session: CrashSession) -> None:
    """A call whose records are cut into batches is still all or nothing."""
    session.create("t")
    session.send("t", 0, events(2, 100))
    session.send("t", 0, events(30, 1200, first=2))
    session.send("t", 0, events(1, first=32))


def erasable(session: CrashSession) -> None:
    """Salts cannot be made again: they have to be durable before the WAL forgets them."""
    session.create("t", erasable=True)
    for n in range(9):
        session.send("t", 0, events(2, 1500, first=2 * n))
        if n >= 3:
            session.tend()


def erasable_roll(session: CrashSession) -> None:
    session.create("t", erasable=True, segment_bytes=4096)
    session.tend()
    for n in range(3):
        session.send("t", 0, events(2, 1500, first=2 * n))
    session.tend()


def erased(session: CrashSession) -> None:
    """Records of a sealed segment, of the last one, of one that is rewritten twice."""
    session.create("t", erasable=True, segment_bytes=4096)
    for n in range(4):
        session.send("t", 0, events(2, 1500, first=2 * n))
    session.erase("t", 0, 1)
    session.send("t", 0, events(1, first=8))
    session.erase("t", 0, 8, 0)
    session.crash_and_reopen()
    session.send("t", 0, events(1, first=9))


def erased_by_key(session: CrashSession) -> None:
    """In two partitions, whole or not at all; one of them compressed, with retention at work."""
    session.create("t", 2, compression="lz4", erasable=True, max_records=4, segment_bytes=4096)
    for n in range(3):
        session.batch([("t", p, e) for p in (0, 1) for e in events(2, 900, first=2 * n)])
    session.retain()
    session.erase_key("t", b"k4")
    session.compact("t")
    session.reopen()
    session.erase("t", 1, 5)


def disk_durability(session: CrashSession) -> None:
    """Nothing is promised of power loss but a prefix; of the process's death, everything."""
    session.create("t", durability="disk")
    session.create("u")
    for n in range(3):
        session.send("t", 0, events(2, 600, first=2 * n))
    session.send("u", 0, events(1))
    session.send("t", 0, events(2, first=6))


WORKLOADS = [
    one_small_append,
    append_spanning_sectors,
    batch_over_partitions,
    compressed_batch,
    wal_files_change,
    index_and_tree_lag,
    crash_then_write,
    roll,
    retention,
    compaction,
    retention_altered,
    delete_and_create_again,
    partitions_added,
    offsets_committed,
    clean_close,
    group_of_several_batches,
    erasable,
    erasable_roll,
    erased,
    erased_by_key,
    disk_durability,
]
