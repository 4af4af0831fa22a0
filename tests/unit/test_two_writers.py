"""Two brokers that write one directory: bugs found, each named after what one saw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from merkql import Broker, ProducerRecord, RetentionConfig
from support.monitor import MonitorFiles

Pair = tuple[Broker, Broker]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> MonitorFiles:
    """Both brokers work under one monitor: a sync by either covers what both wrote."""
    both = MonitorFiles()
    monkeypatch.setattr("merkql.broker.Files", lambda: both)
    return both


@pytest.fixture
def pair(files: MonitorFiles, tmp_path: Path) -> Iterator[Pair]:
    with Broker.open(tmp_path) as one, Broker.open(tmp_path) as other:
        yield one, other
    assert not files.broken


def crash(broker: Broker) -> None:
    """What a kill leaves: nothing is told to the disk, the kernel frees the locks."""
    broker._engine.abandon()
    broker.closed = True


def send(broker: Broker, *values: bytes, topic: str = "t", partition: int = 0) -> list[int]:
    records = [ProducerRecord(topic, value, partition=partition) for value in values]
    return [sent.offset for sent in broker.producer().send_batch(records)]


def test_closing_after_another_process_deleted_a_topic_says_it_was_deleted(pair: Pair) -> None:
    one, other = pair
    one.create_topic("t")
    send(one, b"x")
    send(other, b"y")
    one.delete_topic("t")
    one.create_topic("t")
    assert send(other, b"z") == [0]
    other.close()
    assert one.topic("t").partition(0).read(0).value == b"z"


def test_retention_stumbles_over_a_segment_that_another_process_compacted(pair: Pair) -> None:
    """The start was kept before: the tail page says nothing of the rewriting."""
    one, other = pair
    one.create_topic("t", segment_bytes=4096)
    for _ in range(4):
        send(one, *[b"x" * 900] * 3)
    one.topic("t").alter(retention=RetentionConfig(max_records=5))
    other.topic("t").partition(0).verify()
    one.topic("t").alter(retention=RetentionConfig(max_records=20))
    assert one.topic("t").partition(0).compact() > 0
    one.topic("t").alter(retention=RetentionConfig(max_records=1))
    other.apply_retention()
    other.topic("t").partition(0).compact()
    assert other.topic("t").partition(0).start_offset == 11


def test_a_reader_calls_a_segment_missing_that_another_process_retained(pair: Pair) -> None:
    """FileNotFoundError had it look at the tail page again, which said the same as before."""
    one, other = pair
    one.create_topic("t", segment_bytes=4096)
    for _ in range(4):
        send(one, *[b"x" * 900] * 4)
    one.topic("t").alter(retention=RetentionConfig(max_records=2))
    assert other.topic("t").partition(0).end_offset == 16
    one.topic("t").partition(0).compact()
    assert other.topic("t").partition(0).verify().end_offset == 16


def test_a_wal_file_stays_after_a_clean_close_where_its_maker_was_killed(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as one:
        killed = Broker.open(tmp_path)
        killed.create_topic("t")
        send(killed, b"x" * 70_000)
        wal = killed._engine.writer.wal
        wal.claim_file()
        wal.prepare_file()
        crash(killed)
        assert send(one, b"y") == [1]
    assert not list((tmp_path / "wal").iterdir())


def test_closing_an_erasable_topic_that_holds_nothing_breaks_the_order(pair: Pair) -> None:
    """Its salts were cut to nothing and not synced before the WAL went."""
    one, other = pair
    one.create_topic("empty", erasable=True)
    one.create_topic("t")
    assert one.topic("empty").partition(0).end_offset == 0
    assert send(other, b"x") == [0]


def test_the_first_to_leave_leaves_no_mark_and_the_last_does(tmp_path: Path) -> None:
    one, other = Broker.open(tmp_path), Broker.open(tmp_path)
    one.create_topic("t")
    send(one, b"x")
    send(other, b"y")
    one.close()
    assert not (tmp_path / "clean").exists()
    assert list((tmp_path / "wal").iterdir())
    assert send(other, b"z") == [2]
    other.close()
    assert (tmp_path / "clean").exists()
    assert not list((tmp_path / "wal").iterdir())
