"""The nemesis cases of the Rust merkql: files hurt between sessions, and what has to be there.

Its own tests accept lost proofs, lost records and a log that begins again at 0; these do not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from merkql import Broker, CorruptionError
from support.crashes import crash
from support.damage import append_garbage, flip_byte, shorten
from support.log_model import Event, root_of

COUNT = 100
EVENTS = [Event(b"value %d" % i, b"k", 1000 + i) for i in range(COUNT)]
PARTITION = Path("topics/t/0")
SEGMENT = PARTITION / "00000000000000000000.log"
INDEX = SEGMENT.with_suffix(".index")
TREE = PARTITION / "tree"
TAIL = PARTITION / "tail"


def write(root: Path, count: int = COUNT, *, close: bool = True, **options: object) -> None:
    broker = Broker.open(root)
    broker.create_topic("t", **options)
    for event in EVENTS[:count]:
        broker.producer().send("t", event.value, key=event.key, timestamp_ms=event.timestamp_ms)
    if close:
        broker.close()
    else:
        crash(broker)


def check_all(root: Path, count: int = COUNT) -> None:
    """Every record, its proof against the root worked out here, and an append behind them."""
    with Broker.open(root) as broker:
        partition = broker.topic("t").partition(0)
        records = partition.read_range(0, count)
        assert [record.value for record in records] == [event.value for event in EVENTS[:count]]
        assert partition.end_offset == count
        assert partition.root() == root_of(EVENTS[:count])
        assert all(partition.proof(r.offset).verify(r, root_of(EVENTS[:count])) for r in records)
        partition.verify()
        assert broker.producer().send("t", b"next").offset == count


def test_crash_ten_times(tmp_path: Path) -> None:
    """Ten sessions of a hundred records, each ended without a word; `integrity` has real kills."""
    total = 0
    for _ in range(10):
        broker = Broker.open(tmp_path)
        for _ in range(100):
            broker.producer().send("t", b"%d" % total)
            total += 1
        crash(broker)
    with Broker.open(tmp_path) as broker:
        values = [r.value for r in broker.topic("t").partition(0).read_range(0, total)]
        assert values == [b"%d" % i for i in range(total)]


Hurt = Callable[[Path], None]


def gone(path: Path) -> None:
    path.unlink()


def halved(path: Path) -> None:
    shorten(path, path.stat().st_size // 2)


def cut_by_one(path: Path) -> None:
    shorten(path, 1)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flipped_first(path: Path) -> None:
    flip_byte(path, 0)


def flipped_middle(path: Path) -> None:
    flip_byte(path, path.stat().st_size // 2)


def flipped_last(path: Path) -> None:
    flip_byte(path, -1)


def with_garbage(path: Path) -> None:
    append_garbage(path, b"garbage " * 11)


HURTS = [
    gone,
    halved,
    cut_by_one,
    emptied,
    zeroed,
    flipped_first,
    flipped_middle,
    flipped_last,
    with_garbage,
]
DERIVED = [INDEX, TREE / "h00", TREE / "h04", TAIL]


@pytest.mark.parametrize("close", [True, False], ids=["closed", "crashed"])
@pytest.mark.parametrize("hurt", HURTS, ids=lambda hurt: hurt.__name__)
@pytest.mark.parametrize("path", DERIVED, ids=lambda path: path.name)
def test_a_derived_file_is_made_again(tmp_path: Path, path: Path, hurt: Hurt, close: bool) -> None:
    """Index, stored hashes and tail page: hurt in any way, nothing is missing, no proof either."""
    write(tmp_path, close=close)
    hurt(tmp_path / path)
    check_all(tmp_path)


@pytest.mark.parametrize(
    "paths",
    [
        some
        for count in (2, 3, 4)
        for some in itertools.combinations([INDEX, TREE, TAIL, Path("clean")], count)
    ],
    ids=lambda paths: "+".join(path.name for path in paths),
)
@pytest.mark.parametrize("close", [True, False], ids=["closed", "crashed"])
def test_derived_files_are_made_again_in_any_combination(
    tmp_path: Path, paths: tuple[Path, ...], close: bool
) -> None:
    write(tmp_path, close=close, segment_bytes=4096)
    before = contents(tmp_path) if close else None
    for path in paths:
        for one in [*(tmp_path / path).glob("*"), tmp_path / path]:
            if one.is_file():
                one.unlink()
    with Broker.open(tmp_path) as broker:
        broker.topic("t").partition(0).read(0)
    if before is not None:
        assert contents(tmp_path) == before
    check_all(tmp_path)


def contents(root: Path) -> dict[str, bytes]:
    """Every file of the topics, by name."""
    files = (path for path in (root / "topics").rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_tree_is_one_record_behind(tmp_path: Path) -> None:
    """The index ahead of the tree: the last record gets its proof all the same."""
    write(tmp_path, close=False)
    shorten(tmp_path / TREE / "h00", (tmp_path / TREE / "h00").stat().st_size - 32 * (COUNT - 1))
    check_all(tmp_path)


@pytest.mark.parametrize(
    "garbage",
    [b"\x01\x02", bytes([0, 0, 1, 44]) + b"h" * 20, b"\0" * 8 + b"\0\0\0\x64" + b"\0\0\0\0\x02x"],
    ids=["two_bytes", "length_and_hash", "header_and_some"],
)
def test_garbage_behind_the_last_batch_is_cut(tmp_path: Path, garbage: bytes) -> None:
    write(tmp_path)
    size = (tmp_path / SEGMENT).stat().st_size
    append_garbage(tmp_path / SEGMENT, garbage)
    with Broker.open(tmp_path) as broker:
        assert broker.topic("t").partition(0).end_offset == COUNT
    assert (tmp_path / SEGMENT).stat().st_size == size
    check_all(tmp_path)


def test_a_missing_segment_is_an_error_and_not_a_new_beginning(tmp_path: Path) -> None:
    write(tmp_path, 50)
    (tmp_path / SEGMENT).unlink()
    with Broker.open(tmp_path) as broker:
        partition = broker.topic("t").partition(0)
        with pytest.raises(CorruptionError, match="no segment is left of a log that ended at"):
            broker.producer().send("t", b"not at offset 0")
        with pytest.raises(CorruptionError):
            partition.read_range(0, 50)
        with pytest.raises(CorruptionError):
            partition.verify()
        broker.producer().send("another", b"works")
    assert not (tmp_path / SEGMENT).exists() or (tmp_path / SEGMENT).stat().st_size == 0


@pytest.mark.parametrize("close", [True, False], ids=["closed", "crashed"])
def test_a_flipped_byte_in_the_middle_is_named_and_the_rest_is_there(
    tmp_path: Path, close: bool
) -> None:
    """Readable and error make all; each value that is served is the one that was written."""
    write(tmp_path, close=close)
    content = (tmp_path / SEGMENT).read_bytes()
    position = content.index(b"value 40")
    flip_byte(tmp_path / SEGMENT, position)
    if not close:  # what the WAL still holds would mend it
        for path in (tmp_path / "wal").iterdir():
            path.unlink()
    with Broker.open(tmp_path) as broker:
        partition = broker.topic("t").partition(0)
        good = 0
        where: list[tuple[str, int]] = []
        for offset in range(COUNT):
            try:
                assert partition.read(offset).value == EVENTS[offset].value
                good += 1
            except CorruptionError as damage:
                where.append((damage.path, damage.position))
        salvaged = partition.salvage(0, None)
        assert [r.offset for r in salvaged.records] == [i for i in range(COUNT) if i != 40]
        assert len(salvaged.damage) == 1
        broker.producer().send("another", b"works")
    assert good == COUNT - 1 if close else good >= 40  # unless it was synced, the rest is unknown
    assert len(where) == COUNT - good
    assert all(path == str(tmp_path / SEGMENT) and at <= position for path, at in where)
    assert (tmp_path / SEGMENT).read_bytes()[:position] == content[:position]


def test_a_segment_cut_short_is_not_a_torn_tail(tmp_path: Path) -> None:
    """All of it was durable, so bytes that are missing now are damage, not an interrupted write."""
    write(tmp_path)
    shorten(tmp_path / SEGMENT, 10)
    with Broker.open(tmp_path) as broker:
        with pytest.raises(CorruptionError, match="ends at offset 99 and had ended at 100"):
            broker.producer().send("t", b"x")
        assert len(broker.topic("t").partition(0).read_range(0, 99)) == 99


def test_the_wal_mends_what_it_still_holds(tmp_path: Path) -> None:
    write(tmp_path, 20, close=False)
    content = (tmp_path / SEGMENT).read_bytes()
    flip_byte(tmp_path / SEGMENT, content.index(b"value 10"))
    check_all(tmp_path, 20)


def test_a_wal_without_its_middle_is_an_error(tmp_path: Path) -> None:
    """A frame that was durable and is gone: the directory is not opened to write over it."""
    write(tmp_path, 20, close=False)
    wal = next((tmp_path / "wal").glob("*.wal"))
    flip_byte(wal, 4096 * 10 + 100)
    with pytest.raises(CorruptionError, match="was durable and is missing or damaged") as caught:
        Broker.open(tmp_path)
    assert (caught.value.path, caught.value.position) == (str(wal), 4096 * 10)
    with Broker.open(tmp_path, read_only=True) as broker:
        assert len(broker.topic("t").partition(0).read_range(0, 20)) == 20
