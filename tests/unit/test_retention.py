"""What a partition still shows and what the disk gives back; roots and proofs stay."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from merkql import Broker, CorruptionError, OffsetOutOfRangeError, RetentionConfig
from merkql.storage.engine import Engine
from merkql.storage.partition import Partition


def size_of(root: Path, pattern: str = "*.log") -> int:
    return sum(path.stat().st_size for path in (root / "topics").rglob(pattern))


def fill(broker: Broker, count: int, size: int = 100, **options: object) -> Partition:
    broker.create_topic("t", segment_bytes=4096, **options)
    for i in range(count):
        broker.producer().send("t", b"%d:" % i + b"x" * size, timestamp_ms=1000 * (i + 1))
    return broker.topic("t").partition(0)


@pytest.mark.parametrize("count", [1, 4, 5, 6, 50])
def test_a_count_is_exact_to_the_record(tmp_path: Path, count: int) -> None:
    with Broker.open(tmp_path) as broker:
        partition = fill(broker, count, retention=RetentionConfig(max_records=5))
        assert partition.start_offset == max(0, count - 5)
        assert len(partition.read_range(partition.start_offset, count)) == min(5, count)
        if count > 5:
            with pytest.raises(OffsetOutOfRangeError):
                partition.read(count - 6)


def test_a_size_bounds_the_bytes_shown(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        partition = fill(broker, 100, retention=RetentionConfig(max_bytes=2000))
        shown = partition.read_range(partition.start_offset, 100)
        assert 8 <= len(shown) <= 2000 // 100


def test_an_age_counts_from_each_records_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "now_ms", lambda self: 20_000)  # the background's clock too
    with Broker.open(tmp_path) as broker:
        partition = fill(broker, 20, retention=RetentionConfig(max_age_ms=5000))
        assert partition.start_offset == 14  # the record of 15,000 ms is 5,000 ms old
        partition._now_ms = lambda: 1 << 50
        assert partition.start_offset == 20
        assert partition.fetch(20) == []


def test_it_frees_the_disk_and_keeps_every_proof(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        partition = fill(broker, 200)
        records = partition.read_range(0, 200)
        proofs = [partition.proof(offset) for offset in range(200)]
        root, before = partition.root(), size_of(tmp_path)
        broker.topic("t").alter(retention=RetentionConfig(max_records=10))
        freed = broker.apply_retention()
        assert freed > 180 * 100  # all but what is beside the ten in their segment
        assert size_of(tmp_path) <= before - freed + 4096
        assert all(p.verify(r, root) for p, r in zip(proofs, records, strict=True))
        assert [partition.proof(i).path for i in range(200)] == [p.path for p in proofs]
        assert partition.proof(0).entry is None
        assert partition.root(100) == proofs[0].root or partition.root(200) == root


def test_compaction_leaves_nothing_outside_the_window_but_the_tree(tmp_path: Path) -> None:
    """The window begins within a segment, whatever the background has removed by then."""
    with Broker.open(tmp_path) as broker:
        partition = fill(broker, 102, retention=RetentionConfig(max_records=7))
        root = partition.root()
        assert partition.compact() > 0
        assert partition.compact() == 0
        assert [r.offset for r in partition.read_range(95, 102)] == list(range(95, 102))
        assert partition.root() == root
        partition.verify()
        held = b"".join(path.read_bytes() for path in (tmp_path / "topics").rglob("*.log"))
        assert b"94:x" not in held
        assert b"95:x" in held
        assert broker.producer().send("t", b"next").offset == 102


def test_it_holds_after_a_restart_and_goes_on(tmp_path: Path) -> None:
    """The Rust merkql forgets it: 5 records, a restart, 20 more, 25 readable."""
    with Broker.open(tmp_path) as broker:
        fill(broker, 20, retention=RetentionConfig(max_records=5))
    with Broker.open(tmp_path) as broker:
        for _ in range(20):
            broker.producer().send("t", b"x")
        partition = broker.topic("t").partition(0)
        assert (partition.start_offset, partition.end_offset) == (35, 40)


def test_what_was_hidden_stays_hidden_when_it_is_loosened(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        partition = fill(broker, 20, retention=RetentionConfig(max_records=5))
        broker.topic("t").alter(retention=RetentionConfig())
        assert partition.start_offset == 15
    with Broker.open(tmp_path) as broker:
        assert broker.topic("t").partition(0).start_offset == 15


def test_partitions_have_each_their_own_window(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", partitions=2, retention=RetentionConfig(max_records=3))
        for i in range(10):
            broker.producer().send("t", b"x", partition=0 if i < 8 else 1)
        starts = [partition.start_offset for partition in broker.topic("t").partitions()]
        assert starts == [5, 0]


def test_one_damaged_topic_does_not_keep_the_others_from_theirs(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        for name in ("a", "b"):
            broker.create_topic(
                name, segment_bytes=4096, retention=RetentionConfig(max_records=100)
            )
            for _ in range(10):
                broker.producer().send(name, b"x" * 900)
    for path in (tmp_path / "topics/a/0").glob("*.log"):
        path.unlink()
    before = size_of(tmp_path)
    with Broker.open(tmp_path) as broker, contextlib.suppress(CorruptionError):
        broker.topic("b").alter(retention=RetentionConfig(max_records=1))
        broker.apply_retention()
    assert size_of(tmp_path) < before
