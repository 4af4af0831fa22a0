"""Files that are gone, or not of this log: each is told of, and nothing is passed over."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from merkql import (
    Broker,
    BrokerConfig,
    CorruptionError,
    OffsetOutOfRangeError,
    Partition,
    RetentionConfig,
)
from merkql.storage.start_file import encode_start
from support.faulty_files import FullDisk

COUNT = 200
PLACE = Path("topics/t/0")


def filled(
    directory: Path, retention: RetentionConfig | None = None, *, compacted: bool = False
) -> list[Path]:
    """A log of 200 records in segments of about fifty; its segments, in order."""
    with Broker.open(directory) as broker:
        topic = broker.create_topic(
            "t", segment_bytes=8192, retention=retention or RetentionConfig()
        )
        producer = broker.producer()
        for number in range(COUNT):
            producer.send("t", b"%03d" % number * 30)
        if compacted:
            topic.partition(0).compact()
    return segments(directory)


def segments(directory: Path) -> list[Path]:
    return sorted((directory / PLACE).glob("*.log"))


def first_offset(segment: Path) -> int:
    return int(segment.stem)


def partition_of(broker: Broker) -> Partition:
    return broker.topic("t").partition(0)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_missing_first_segments_passed_as_retained_away(
    tmp_path: Path, count: int, read_only: bool, caplog: pytest.LogCaptureFixture
) -> None:
    logs = filled(tmp_path)
    stop = first_offset(logs[count])
    for path in logs[:count]:
        path.unlink()
    message = f"offsets 0 to {stop - 1} are missing"
    with Broker.open(tmp_path, read_only=read_only) as broker:
        partition = partition_of(broker)
        assert (partition.start_offset, partition.end_offset) == (0, COUNT)
        for ask in (lambda: partition.read(0), lambda: partition.fetch(0), partition.verify):
            with pytest.raises(CorruptionError, match=message) as caught:
                ask()
            assert caught.value.path == str(logs[0])
        with broker.consumer("g") as consumer:
            consumer.subscribe(["t"])
            with pytest.raises(CorruptionError, match=message):
                consumer.poll()
        assert [r.offset for r in partition.read_range(stop, COUNT)] == list(range(stop, COUNT))
        found = partition.salvage()
        assert [r.offset for r in found.records] == list(range(stop, COUNT))
        assert [message in str(one) for one in found.damage] == [True]
        if not read_only:
            assert message in caplog.text
            assert broker.producer().send("t", b"more").offset == COUNT


def test_a_reader_called_a_segment_missing_that_is_there_for_the_last_was_gone(
    tmp_path: Path,
) -> None:
    logs = filled(tmp_path)
    logs[-1].unlink()
    last = first_offset(logs[-1])
    with Broker.open(tmp_path, read_only=True) as broker:
        partition = partition_of(broker)
        assert [r.offset for r in partition.read_range(0, last)] == list(range(last))
        with pytest.raises(CorruptionError) as caught:
            partition.read(last)
        assert caught.value.path == str(logs[-1])


@pytest.mark.parametrize("read_only", [False, True])
def test_readers_believed_an_older_tail_page_that_was_put_back(
    tmp_path: Path, read_only: bool
) -> None:
    filled(tmp_path)
    page = (tmp_path / PLACE / "tail").read_bytes()
    with Broker.open(tmp_path) as broker:
        for number in range(COUNT, 2 * COUNT):
            broker.producer().send("t", b"%03d" % number * 30)
    (tmp_path / PLACE / "tail").write_bytes(page)
    with Broker.open(tmp_path, read_only=read_only) as broker:
        partition = partition_of(broker)
        assert partition.end_offset == 2 * COUNT
        assert len(partition.read_range(0, 2 * COUNT)) == 2 * COUNT
        partition.verify()


@pytest.mark.parametrize("killed", [False, True])
def test_a_start_behind_the_end_was_taken_and_offsets_were_given_twice(
    tmp_path: Path, killed: bool
) -> None:
    """As of a start file of another copy: records that retention took were of a longer log."""
    filled(tmp_path)
    start = tmp_path / PLACE / "start"
    start.write_bytes(encode_start(2 * COUNT))
    if killed:
        (tmp_path / "clean").unlink()
    with Broker.open(tmp_path) as broker:
        with pytest.raises(CorruptionError, match="ends at offset 200 and had ended at 400"):
            broker.producer().send("t", b"x")
        assert partition_of(broker).start_offset <= COUNT
    start.unlink()
    with Broker.open(tmp_path) as broker:
        assert broker.producer().send("t", b"x").offset == COUNT
        assert len(partition_of(broker).read_range(0, COUNT)) == COUNT


@pytest.mark.parametrize("read_only", [False, True])
def test_readers_called_the_tree_wrong_where_the_salts_were_gone(
    tmp_path: Path, read_only: bool
) -> None:
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", erasable=True)
        broker.producer().send_values("t", [b"x", b"y"])
    salts = tmp_path / PLACE / "tree/salts"
    salts.unlink()
    with Broker.open(tmp_path, read_only=read_only) as broker:
        with pytest.raises(CorruptionError) as caught:
            partition_of(broker).verify()
        assert caught.value.path == str(salts)


def test_a_missing_boundary_segment_passed_as_retained_away(tmp_path: Path) -> None:
    logs = filled(tmp_path, RetentionConfig(max_records=30), compacted=True)
    assert first_offset(logs[0]) == 170
    logs[0].unlink()
    with Broker.open(tmp_path) as broker:
        partition = partition_of(broker)
        assert partition.start_offset == 170
        with pytest.raises(CorruptionError, match="offsets 170 to 199 are missing"):
            partition.read(180)
        with pytest.raises(OffsetOutOfRangeError):
            partition.read(169)


@pytest.mark.parametrize("forget", [(), ("tail",), ("start",)])
def test_what_retention_took_is_not_missed(tmp_path: Path, forget: tuple[str, ...]) -> None:
    filled(tmp_path, RetentionConfig(max_bytes=9000), compacted=True)
    with Broker.open(tmp_path) as broker:
        start = partition_of(broker).start_offset
        assert start > 100
    for name in forget:
        (tmp_path / PLACE / name).unlink()
    with Broker.open(tmp_path) as broker:
        broker.topic("t").alter(retention=RetentionConfig())
        partition = partition_of(broker)
        assert partition.start_offset == start
        assert partition.verify().first_offset == start
        assert partition.salvage().damage == []


def test_retention_on_a_full_disk_is_not_taken_for_a_loss(tmp_path: Path) -> None:
    logs = filled(tmp_path)
    files = FullDisk()
    with Broker(BrokerConfig(tmp_path), files) as broker:
        broker.topic("t").alter(retention=RetentionConfig(max_records=30))
        files.arm(0)
        assert broker.apply_retention() > 0
        files.heal()
        assert files.refused
        assert broker.producer().send("t", b"x").offset == COUNT
    assert not logs[0].exists()
    with Broker.open(tmp_path) as broker:
        assert partition_of(broker).salvage().damage == []
        assert partition_of(broker).start_offset == 171


@pytest.mark.parametrize("content", ["copy", "empty", "zeros", "garbage"])
@pytest.mark.parametrize("killed", [False, True])
def test_a_stray_segment_moved_the_end_and_offsets_were_given_twice(
    tmp_path: Path, content: str, killed: bool
) -> None:
    logs = filled(tmp_path)
    stray = tmp_path / PLACE / "00000000000000000500.log"
    if content == "copy":
        shutil.copy(logs[-1], stray)
    else:
        stray.write_bytes({"empty": b"", "zeros": bytes(5000), "garbage": b"x" * 5000}[content])
    if killed:
        (tmp_path / "clean").unlink()
    before = stray.read_bytes()
    with Broker.open(tmp_path) as broker:
        partition = partition_of(broker)
        with pytest.raises(CorruptionError, match=r"which ends at offset 200; .* move it away"):
            broker.producer().send("t", b"x")
        assert [r.offset for r in partition.read_range(0, COUNT)] == list(range(COUNT))
    assert stray.read_bytes() == before
    stray.unlink()
    with Broker.open(tmp_path) as broker:
        assert partition_of(broker).verify().end_offset == COUNT
        assert broker.producer().send("t", b"x").offset == COUNT


UPPER = ["tree/h04", "tree/h08"]


@pytest.mark.parametrize("name", UPPER)
@pytest.mark.parametrize("position", [None, 0, 5, 31])
def test_upper_hashes_of_records_that_are_gone_were_never_made_again(
    tmp_path: Path, name: str, position: int | None
) -> None:
    with Broker.open(tmp_path) as broker:
        topic = broker.create_topic("t", segment_bytes=8192)
        for number in range(600):
            broker.producer().send_values("t", [b"%03d" % number * 10])
        topic.alter(retention=RetentionConfig(max_records=30))
        topic.partition(0).compact()
        roots = {size: topic.partition(0).root(size) for size in range(1, 601, 7)}
    path = tmp_path / PLACE / name
    whole = path.read_bytes()
    if position is None:
        path.unlink()
    else:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    with Broker.open(tmp_path) as broker:
        partition = partition_of(broker)
        for size, root in roots.items():
            assert partition.root(size) == root
        for offset in range(0, 600, 29):
            assert partition.proof(offset).root == partition.root()
        partition.verify()
        assert broker.producer().send("t", b"x").offset == 600
    assert path.read_bytes()[: len(whole)] == whole


def test_leaves_of_records_that_are_gone_are_never_overwritten(tmp_path: Path) -> None:
    filled(tmp_path, RetentionConfig(max_records=30), compacted=True)
    leaves, upper = (tmp_path / PLACE / "tree" / name for name in ("h00", "h04"))
    changed = bytearray(leaves.read_bytes())
    changed[40] ^= 1
    leaves.write_bytes(changed)
    kept = upper.read_bytes()
    with Broker.open(tmp_path) as broker:
        partition = partition_of(broker)
        with pytest.raises(CorruptionError):
            partition.proof(1)
        assert partition.proof(190).verify(partition.read(190), partition.root())
        assert broker.producer().send("t", b"x").offset == COUNT
    assert upper.read_bytes()[: len(kept)] == kept
    assert leaves.read_bytes()[: 170 * 32] == bytes(changed[: 170 * 32])


def test_leaves_that_contradict_the_hashes_above_them_are_not_taken_for_the_tree(
    tmp_path: Path,
) -> None:
    """Without a tail page nothing but the stored hashes can tell that a leaf was changed."""
    filled(tmp_path, RetentionConfig(max_records=30), compacted=True)
    (tmp_path / PLACE / "tail").unlink()
    leaves, upper = (tmp_path / PLACE / "tree" / name for name in ("h00", "h04"))
    changed = bytearray(leaves.read_bytes())
    changed[40] ^= 1
    leaves.write_bytes(changed)
    kept = upper.read_bytes()
    with Broker.open(tmp_path) as broker:
        partition = partition_of(broker)
        with pytest.raises(CorruptionError, match="which are gone, contradict each other"):
            partition.root()
    assert (leaves.read_bytes(), upper.read_bytes()) == (bytes(changed), kept)


def test_a_batch_larger_than_the_limit_was_hidden_as_it_was_acknowledged(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        topic = broker.create_topic("t", retention=RetentionConfig(max_bytes=10_000))
        partition, producer = topic.partition(0), broker.producer()
        for _ in range(3):
            offset = producer.send("t", os.urandom(11_000)).offset
            assert (partition.start_offset, partition.read(offset).offset) == (offset, offset)
            broker.apply_retention()
            assert partition.read(offset).offset == offset
        producer.send_values("t", [bytes(256)] * 100)
        assert partition.end_offset - partition.start_offset > 0


def test_a_partition_whose_directory_is_gone_read_as_empty(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / PLACE).rename(tmp_path / "away")
    with Broker.open(tmp_path, read_only=True) as broker:
        partition = partition_of(broker)
        for ask in (lambda: partition.read(0), lambda: partition.fetch(0), partition.verify):
            with pytest.raises(CorruptionError, match="directory is missing"):
                ask()
