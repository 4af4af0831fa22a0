"""A partition as its users see it: ranges, times, roots and proofs of every size, what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from merkql import Broker, OffsetOutOfRangeError, ProofError, Record
from merkql.storage.files import Files
from merkql.storage.partition import Partition
from merkql.storage.segment import Segment
from support.log_model import Event
from support.naive_tree import NaiveTree

COUNT = 300
EVENTS = [
    Event(b"%d:" % i + b"x" * (i % 90), b"k%d" % (i % 7), 1000 * (i // 3)) for i in range(COUNT)
]
LEAVES = [event.leaf(offset) for offset, event in enumerate(EVENTS)]
TREE = NaiveTree(LEAVES)


@pytest.fixture(scope="module", params=["none", "lz4"])
def partition(request: pytest.FixtureRequest) -> Iterator[Partition]:
    """Three hundred records in many small segments, some batches of one, some of more."""
    with Broker.temporary() as broker:
        broker.create_topic("t", segment_bytes=4096, compression=request.param)
        producer = broker.producer()
        first = 0
        for size in [1] * 50 + [25] * 10:
            some = EVENTS[first : first + size]
            producer.send_values(
                "t",
                [event.value for event in some],
                keys=[event.key for event in some],
                timestamps_ms=[event.timestamp_ms for event in some],
            )
            first += size
        yield broker.topic("t").partition(0)


def test_every_record_is_read_alone(partition: Partition) -> None:
    for offset, event in enumerate(EVENTS):
        record = partition.read(offset)
        assert (record.offset, record.value, record.key) == (offset, event.value, event.key)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 300), (49, 51), (74, 201), (299, 300)])
def test_ranges_are_whole(partition: Partition, start: int, stop: int) -> None:
    records = partition.read_range(start, stop)
    assert [record.value for record in records] == [e.value for e in EVENTS[start:stop]]


@pytest.mark.parametrize("count", [1, 2, 24, 25, 26, 61, 299])
def test_a_fetch_of_few_is_all_of_them(partition: Partition, count: int) -> None:
    for offset in range(0, COUNT, 7):
        records = partition.fetch(offset, max_records=count)
        values = [event.value for event in EVENTS[offset : offset + count]]
        assert [record.value for record in records] == values


def test_a_poll_of_few_records_read_a_megabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    read_into, sizes = Files.read_into, []

    def counted(self: Files, descriptor: int, buffer: memoryview, position: int) -> int:
        sizes.append(len(buffer))
        return read_into(self, descriptor, buffer, position)

    monkeypatch.setattr(Files, "read_into", counted)
    with Broker.temporary() as broker:
        broker.create_topic("t")
        broker.producer().send_values("t", [b"x" * 256] * 8000, partition=0)
        partition = broker.topic("t").partition(0)
        assert [record.offset for record in partition.fetch(4000, max_records=1)] == [4000]
        assert sum(sizes) <= 64 << 10
        sizes.clear()
        assert len(partition.fetch(4000, max_records=500)) == 500
        assert sum(sizes) <= 256 << 10


def test_a_fetch_of_few_reads_on_where_the_index_promises_too_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Broker.temporary() as broker:
        broker.create_topic("t")
        broker.producer().send_values("t", [b"x" * 256] * 1000, partition=0)
        partition = broker.topic("t").partition(0)
        for end in (1, 100, 17_000):
            monkeypatch.setattr(Segment, "end_of", lambda self, offset, end=end: end)
            records = partition.fetch(3, max_records=900)
            assert [record.offset for record in records] == list(range(3, 903))


def test_a_fetch_is_bounded_and_never_empty_before_the_end(partition: Partition) -> None:
    offset = 0
    while offset < COUNT:
        records = partition.fetch(offset, max_bytes=500, max_records=9)
        assert 1 <= len(records) <= 9
        assert records[0].offset == offset
        offset = records[-1].offset + 1
    assert partition.fetch(COUNT) == []
    with pytest.raises(OffsetOutOfRangeError):
        partition.fetch(COUNT + 1)


def test_roots_of_every_size(partition: Partition) -> None:
    assert [partition.root(size) for size in range(COUNT + 1)] == [
        TREE.root(0, size) for size in range(COUNT + 1)
    ]


def test_proofs_of_every_record_in_some_sizes(partition: Partition) -> None:
    for size in (1, 2, 17, 255, 256, 257, COUNT):
        root = TREE.root(0, size)
        for offset in range(0, size, 1 + size // 40):
            proof = partition.proof(offset, size)
            assert list(proof.path) == TREE.inclusion(offset, 0, size)
            assert proof.verify(partition.read(offset), root)


def test_consistency_between_sizes(partition: Partition) -> None:
    for new in (1, 64, 100, COUNT):
        for old in range(1, new + 1, 1 + new // 30):
            proof = partition.consistency_proof(old, new)
            assert list(proof.path) == TREE.consistency(0, old, new)
            assert proof.verify(TREE.root(0, old), TREE.root(0, new))


def test_a_proof_without_a_root_is_checked_against_its_own(partition: Partition) -> None:
    record = partition.read(5)
    proof = partition.proof(5)
    assert proof.verify(record)
    assert not proof.verify(record, TREE.root(0, 7))
    with pytest.raises(ProofError):
        proof.check(record, TREE.root(0, 7))
    forged = Record("t", 0, 5, record.timestamp_ms, record.key, b"forged")
    assert not proof.verify(forged)


def test_leaves_are_found(partition: Partition) -> None:
    for offset in (0, 15, 16, 299):
        assert partition.find(LEAVES[offset]) == offset
    assert partition.find(bytes(32)) is None
    assert partition.find(LEAVES[0][1:] + LEAVES[1][:1]) is None  # across two


@pytest.mark.parametrize("when", [-1, 0, 1, 1000, 50_500, 99_000, 99_001])
def test_the_first_record_at_or_after_a_time(partition: Partition, when: int) -> None:
    wanted = (n for n, event in enumerate(EVENTS) if event.timestamp_ms >= when)
    assert partition.offset_for_timestamp(when) == next(wanted, None)


def test_verification_reads_all_and_tells_how_far_it_is(partition: Partition) -> None:
    steps: list[tuple[int, int]] = []
    report = partition.verify(lambda done, count: steps.append((done, count)))
    assert (report.first_offset, report.end_offset, report.root) == (0, COUNT, TREE.root(0, COUNT))
    assert steps[-1] == (COUNT, COUNT)
    assert steps == sorted(steps)


def test_an_empty_partition() -> None:
    with Broker.temporary() as broker:
        broker.create_topic("t")
        partition = broker.topic("t").partition(0)
        assert (partition.start_offset, partition.end_offset) == (0, 0)
        assert partition.root() == TREE.root(0, 0)
        assert partition.fetch(0) == []
        assert partition.read_range(0, 0) == []
        assert partition.offset_for_timestamp(0) is None
        assert partition.find(LEAVES[0]) is None
        assert partition.verify().end_offset == 0
        assert partition.compact() == 0


def test_records_keep_no_file_open_and_never_change(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        broker.producer().send_values("t", [b"%d" % i for i in range(100)], partition=0)
        records = broker.topic("t").partition(0).read_range(0, 100)
        broker.producer().send_values("t", [b"other"] * 100, partition=0)
        broker.topic("t").partition(0).read_range(100, 200)
        broker.delete_topic("t")
    assert [record.value for record in records] == [b"%d" % i for i in range(100)]


def test_a_large_value_among_small_ones() -> None:
    with Broker.temporary() as broker:
        values = [b"small", bytes(range(256)) * 65_536, b"small again"]
        broker.producer().send_values("t", values, partition=0)
        partition = broker.topic("t").partition(0)
        assert [record.value for record in partition.read_range(0, 3)] == values
        assert [partition.read(offset).value for offset in range(3)] == values
        assert [r.value for r in partition.fetch(0, max_bytes=100)][:1] == values[:1]
        assert partition.proof(1).verify(partition.read(1), partition.root())
