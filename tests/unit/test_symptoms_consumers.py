"""Bugs that users of consumers and groups met, each test named after what one saw."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path

import pytest

from merkql import (
    Broker,
    RetentionConfig,
    TopicPartition,
)

DEADLINE_S = 10.0  # no test waits that long unless it fails


def test_a_wakeup_was_lost_when_the_next_poll_found_records() -> None:
    with Broker.temporary() as broker:
        producer = broker.producer()
        producer.send("t", b"1")
        consumer = broker.consumer("g")
        consumer.subscribe(["t"])
        consumer.wakeup()
        assert len(consumer.poll(None)) == 1
        assert consumer.poll(0) == []  # has no time to wait, and leaves it
        late = threading.Timer(DEADLINE_S, lambda: producer.send("t", b"late"))
        late.start()
        try:
            assert consumer.poll(None) == []  # without waiting for that
        finally:
            late.cancel()
            late.join()
        producer.send("t", b"2")
        assert [record.value for record in consumer.poll(None)] == [b"2"]  # and it is over


def test_lag_counted_records_that_were_gone() -> None:
    with Broker.temporary() as broker:
        broker.create_topic("t", retention=RetentionConfig(max_records=10))
        producer = broker.producer()
        producer.send_values("t", [b"x"] * 20)
        consumer = broker.consumer("g")
        consumer.subscribe(["t"])
        assert len(consumer.poll(0, 5)) == 5
        producer.send_values("t", [b"x"] * 500)
        assert consumer.lag() == {("t", 0): 10}
        assert len(consumer.poll()) == 10
        assert consumer.lag() == {("t", 0): 0}


def test_one_poll_of_compressed_records_came_to_hundreds_of_megabytes() -> None:
    """The limit counted them as they are on the disk."""
    with Broker.temporary() as broker:
        broker.create_topic("t", compression="lz4")
        broker.producer().send_values("t", [b"\0" * 10_000] * 2_000)
        consumer = broker.consumer("g", fetch_max_bytes=1 << 20)
        consumer.subscribe(["t"])
        count = 0
        while records := consumer.poll():
            assert sum(len(record.value or b"") for record in records) < (1 << 20) + (128 << 10)
            assert records[0].offset == count
            count += len(records)
        assert count == 2_000
        assert len(broker.topic("t").partition(0).read_range(0, 2_000)) == 2_000


def test_a_partition_held_by_a_reader_missed_a_change_of_retention(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        topic = broker.create_topic("t", retention=RetentionConfig(max_records=50))
        broker.producer().send_values("t", [b"a"] * 60)
        with Broker.open(tmp_path, read_only=True) as reader:
            partition = reader.topic("t").partition(0)
            assert (partition.start_offset, partition.end_offset) == (10, 60)
            topic.alter(retention=RetentionConfig(max_records=5))
            assert (partition.start_offset, partition.end_offset) == (55, 60)
            assert reader.topic("t").config.retention.max_records == 5


def test_numbers_larger_than_any_count_or_time_were_an_overflow_error() -> None:
    """They are no limit."""
    huge = 1 << 70
    with Broker.temporary() as broker:
        broker.create_topic("t")
        producer = broker.producer()
        producer.send("t", b"1")
        for options in ({"max_records": huge}, {"fetch_max_bytes": huge}):
            with broker.consumer("g", auto_commit=False, **options) as consumer:  # type: ignore[arg-type]
                consumer.subscribe(["t"])
                assert len(consumer.poll(1e300, huge)) == 1
        partition = broker.topic("t").partition(0)
        assert len(partition.fetch(0, max_records=huge, max_bytes=huge)) == 1
        assert len(partition.salvage(0, huge).records) == 1
        for timeout in (math.inf, 1e30, None):
            assert producer.send_nowait("t", b"x").result(timeout).topic == "t"
            assert producer.flush(timeout) == 0
        with pytest.raises(ValueError, match="None waits without end"):
            producer.send_nowait("t", b"x").result(-1)


def test_a_gap_was_never_told_again_when_on_gap_raised_once() -> None:
    gaps: list[tuple[int, int]] = []

    def on_gap(partition: TopicPartition, position: int, following: int) -> None:
        gaps.append((position, following))
        if len(gaps) == 1:
            raise ValueError("not now")

    with Broker.temporary() as broker:
        broker.create_topic("t", retention=RetentionConfig(max_records=10))
        broker.producer().send_values("t", [b"x"] * 5)
        consumer = broker.consumer("g", on_gap=on_gap)
        consumer.assign([("t", 0)])
        assert len(consumer.poll(0, 1)) == 1
        broker.producer().send_values("t", [b"x"] * 50)
        with pytest.raises(ValueError, match="not now"):
            consumer.poll()
        assert consumer.position(("t", 0)) == 1
        assert consumer.poll()[0].offset == 45
        assert gaps == [(1, 45), (1, 45)]


def test_a_groups_offsets_of_deleted_topics_stayed_for_ever(tmp_path: Path) -> None:
    """Every commit of it was slower than the one before."""
    sizes = []
    with Broker.open(tmp_path, default_durability="disk") as broker:
        broker.create_topic("kept")
        broker.producer().send("kept", b"x")
        kept = broker.consumer("g")
        kept.assign([("kept", 0)])
        kept.commit_sync({("kept", 0): 1})
        for _ in range(5):
            broker.create_topic("brief", partitions=30)
            with broker.consumer("g") as consumer:
                consumer.assign([("brief", number) for number in range(30)])
                consumer.commit_sync({("brief", number): 0 for number in range(30)})
                assert consumer.committed(("brief", 29)) == 0
            broker.delete_topic("brief")
            sizes.append(os.path.getsize(tmp_path / "groups/g/offsets"))
        assert kept.committed(("kept", 0)) == 1
        assert len(set(sizes)) == 1

        damaged = tmp_path / "topics/kept/topic.json"
        sound = damaged.read_bytes()
        broker.create_topic("brief", partitions=120)
        damaged.write_bytes(b"?")
        with broker.consumer("g") as consumer:
            consumer.assign([("brief", number) for number in range(120)])
            consumer.commit_sync({("brief", number): 0 for number in range(120)})
        damaged.write_bytes(sound)
    with Broker.open(tmp_path) as broker, broker.consumer("g") as consumer:
        assert consumer.committed(("kept", 0)) == 1
