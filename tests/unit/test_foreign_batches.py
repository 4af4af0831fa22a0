"""Batches that other software wrote into a segment: marks of transactions, codecs, odd timestamps.

Planted as the only file of a partition; built by the naive encoder, so no client is needed.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from merkql import Broker, CorruptionError, OffsetOutOfRangeError, RetentionConfig
from merkql.storage.partition import Partition
from support.naive_batch import CODECS, NaiveBatch, NaiveRecord, encode_record, leaf_hashes
from support.naive_tree import NaiveTree

CONTROL = 32
NOW = 1_700_000_000_000


def values(count: int) -> list[NaiveRecord]:
    return [NaiveRecord(b"k", b"the value, number %d" % n, (), NOW + n) for n in range(count)]


@contextmanager
def planted(root: Path, *batches: bytes) -> Iterator[Partition]:
    """A partition that consists of these batches and nothing else."""
    with Broker.open(root) as broker:
        broker.create_topic("t", durability="disk")
    (root / "clean").unlink()
    directory = root / "topics" / "t" / "0"
    (directory / "tail").unlink()
    (directory / f"{0:020d}.log").write_bytes(b"".join(batches))
    with Broker.open(root) as broker:
        yield broker.topic("t").partition(0)


def compact_to(partition: Partition, count: int) -> int:
    topic = partition._owner._topic
    topic.alter(retention=RetentionConfig(max_records=count))
    return partition.compact()


def root_of(records: list[NaiveRecord]) -> bytes:
    hashes = leaf_hashes(records, 0)
    leaves = [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
    return NaiveTree(leaves).root(0, len(leaves))


def test_control_batches_are_passed_over(tmp_path: Path) -> None:
    mark = values(1)
    batches = [NaiveBatch(0, values(3)), NaiveBatch(3, mark, CONTROL), NaiveBatch(4, values(2))]
    batches.append(NaiveBatch(6, mark, CONTROL))
    with planted(tmp_path / "data", *(batch.encode() for batch in batches)) as partition:
        assert partition.end_offset == 7
        for size in (1, 120, 1 << 20):
            assert [one.offset for one in partition.fetch(3, max_bytes=size)][:1] == [4]
            assert partition.fetch(6, max_bytes=size) == []
        assert [one.offset for one in partition.read_range(0, 7)] == [0, 1, 2, 4, 5]
        assert [one.offset for one in partition.read_range(1, 4)] == [1, 2]
        assert partition.read_range(3, 4) == []
        with pytest.raises(OffsetOutOfRangeError):
            partition.read(3)
        assert partition.proof(3).entry is None
        assert partition.root() == root_of(values(3) + mark + values(2) + mark)


@pytest.mark.parametrize("count", [4, 1])
def test_compact_keeps_a_control_batch_it_begins_with(count: int, tmp_path: Path) -> None:
    mark = values(1)
    batches = [NaiveBatch(0, values(3)), NaiveBatch(3, mark, CONTROL), NaiveBatch(4, values(2))]
    batches.append(NaiveBatch(6, mark, CONTROL))
    data = [batch.encode() for batch in batches]
    with planted(tmp_path / "data", *data) as partition:
        compact_to(partition, count)
        report = partition.verify()
        assert (report.first_offset, report.end_offset) == (7 - count, 7)
        assert report.root == root_of(values(3) + mark + values(2) + mark)
        assert report.size_bytes == sum(map(len, data[1 if count == 4 else 3 :]))


@pytest.mark.parametrize("before", [0, 3])
def test_compact_keeps_a_control_batch_whole_that_the_window_begins_in(
    before: int, tmp_path: Path
) -> None:
    batches = [NaiveBatch(0, values(before))] if before else []
    batches += [NaiveBatch(before, values(3), CONTROL), NaiveBatch(before + 3, values(2))]
    data = [batch.encode() for batch in batches]
    with planted(tmp_path / "data", *data) as partition:
        freed = compact_to(partition, 4)
        assert freed == (len(data[0]) if before else 0)
        assert partition.compact() == 0
        assert partition.start_offset == before + 1
        assert [one.offset for one in partition.fetch(before + 1)] == [before + 3, before + 4]
        report = partition.verify()
        assert report.size_bytes == sum(map(len, data[-2:]))
        assert report.root == root_of(values(before) + values(3) + values(2))


def test_bytes_freed_are_not_negative(tmp_path: Path) -> None:
    records = [NaiveRecord(None, b"%d" % (n % 7), (), NOW) for n in range(2000)]
    batch = NaiveBatch(0, records, CODECS["gzip"])
    with planted(tmp_path / "data", batch.encode(gzip.compress(batch.record_bytes()))) as partition:
        before = partition.verify().size_bytes
        assert compact_to(partition, 1999) == 0
        assert partition.verify().size_bytes > before


def test_a_consumer_passes_a_control_batch_at_the_end(tmp_path: Path) -> None:
    batches = [NaiveBatch(0, values(3)), NaiveBatch(3, values(2), CONTROL)]
    path = tmp_path / "data"
    data = [batch.encode() for batch in batches]
    with planted(path, *data), Broker.open(path, read_only=True) as broker:
        consumer = broker.consumer("g")
        consumer.subscribe(["t"])
        assert len(consumer.poll()) == 3
        assert consumer.poll() == []
        assert consumer.lag() == {("t", 0): 0}
        assert consumer.position(("t", 0)) == 5
        consumer.poll()
        assert consumer.committed(("t", 0)) == 5


def test_compact_keeps_compressed_records_compressed(tmp_path: Path) -> None:
    batch = NaiveBatch(0, values(1000), CODECS["gzip"])
    with planted(tmp_path / "data", batch.encode(gzip.compress(batch.record_bytes()))) as partition:
        compact_to(partition, 900)
        assert partition.verify().size_bytes < len(batch.record_bytes()) // 3
        assert [one.value for one in partition.read_range(100, 1000)] == [
            record.value for record in values(1000)[100:]
        ]
        assert partition.verify().root == root_of(values(1000))


def test_compact_of_timestamps_that_do_not_fit_one_batch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Others let the deltas wrap; ours begin another batch, and the index has an entry of each."""
    extremes = [-5, NOW, -(1 << 63), (1 << 63) - 1, -1, -(1 << 63)]
    records = [NaiveRecord(None, b"v", (), time) for time in extremes]
    batch = NaiveBatch(0, records).encode(wrapping_records(records))
    with planted(tmp_path / "data", batch) as partition:
        compact_to(partition, 5)
        caplog.clear()
        assert partition.verify().root == root_of(records)
        assert not caplog.records  # nothing had to be mended
        assert [one.timestamp_ms for one in partition.read_range(1, 6)] == extremes[1:]


def wrapping_records(records: list[NaiveRecord]) -> bytes:
    base = records[0].timestamp_ms
    body = b""
    for number, record in enumerate(records):
        delta = (record.timestamp_ms - base + (1 << 63)) % (1 << 64) - (1 << 63)
        body += encode_record(record, number, delta)
    return body


def test_compact_names_damage_in_the_batch_it_begins_in(tmp_path: Path) -> None:
    batch = NaiveBatch(0, values(10)).encode()
    with planted(tmp_path / "data", batch) as partition:
        path = tmp_path / "data" / "topics" / "t" / "0" / f"{0:020d}.log"
        assert partition.end_offset == 10
        damaged = bytearray(batch)
        damaged[100] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CorruptionError, match=path.name):
            compact_to(partition, 5)
        assert path.read_bytes() == damaged
