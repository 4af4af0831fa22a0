"""Two brokers that write one directory: bugs found, each named after what one saw."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from merkql import (
    Broker,
    ProducerRecord,
    RetentionConfig,
    Topic,
    UnknownPartitionError,
    UnknownTopicError,
)
from merkql.storage import maintenance
from merkql.storage.files import Files
from merkql.storage.maintenance import sync_segments
from merkql.storage.segment_space import AHEAD, blocking_preallocation, set_aside
from merkql.storage.wal import LEFT_FILES_MAX
from support.command import wait_until
from support.crashes import crash
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


@pytest.mark.parametrize(
    "change",
    [
        lambda topic: topic.alter(compression="lz4"),
        lambda topic: topic.partition(0).compact(),
        lambda topic: topic.partition(0).erase(topic.partition(0).start_offset),
    ],
    ids=["alter", "compact", "erase"],
)
def test_changes_stumbled_over_segments_that_another_process_retained_away(
    pair: Pair, change: Callable[[Topic], object]
) -> None:
    """Which had kept the start before, so that removing them did not move it."""
    one, other = pair
    one.create_topic("t", segment_bytes=4096, erasable=True)
    for _ in range(5):
        send(one, *[b"x" * 900] * 3)
    for limit in (5000, 100_000):
        one.topic("t").alter(retention=RetentionConfig(max_bytes=limit))
    start = one.topic("t").partition(0).start_offset
    assert start > 3
    assert other.topic("t").partition(0).end_offset == 15  # it knows the segments, not their sizes
    one.apply_retention()
    change(other.topic("t"))
    assert other.topic("t").partition(0).start_offset == start
    assert one.topic("t").partition(0).read(14).value == b"x" * 900


def test_a_tree_made_again_by_who_closed_first_was_not_synced_by_who_closed_last(
    files: MonitorFiles, tmp_path: Path
) -> None:
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t")
        send(broker, *[b"%d" % number for number in range(100)])
    hashes = tmp_path / "topics" / "t" / "0" / "tree" / "h00"
    changed = bytearray(hashes.read_bytes())
    changed[32 * 40] ^= 1
    hashes.write_bytes(changed)
    with Broker.open(tmp_path) as last:
        last.create_topic("u")
        send(last, b"x", topic="u")
        with Broker.open(tmp_path) as first:
            partition = first.topic("t").partition(0)
            assert partition.proof(40).verify(partition.read(40), partition.root())
    assert not files.broken


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


def test_each_turn_after_anothers_listed_the_directory_and_had_its_names_synced(
    pair: Pair, files: MonitorFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pair[0]
    one.create_topic("t")
    for broker in pair:
        send(broker, *[b"x"] * 20)  # the tree's second file is made with the sixteenth
    touched: list[str] = []
    list_directory, sync_directory = files.list_directory, files.sync_directory

    def listing(path: str) -> list[str]:
        touched.append(path)
        return list_directory(path)

    def syncing(path: str) -> None:
        touched.append(path)
        sync_directory(path)

    monkeypatch.setattr(files, "list_directory", listing)
    monkeypatch.setattr(files, "sync_directory", syncing)
    for number in range(10):
        for broker in pair:
            send(broker, b"x" * 100)
            with broker._engine.exclusive():
                sync_segments(broker._engine.writer, broker._engine)
        if number == 0:
            touched.clear()
    log = one._engine.logs()[0]
    assert [path for path in touched if path.startswith(log.directory)] == []


def test_the_wal_was_forgotten_before_the_name_of_a_file_that_another_process_made_was_durable(
    pair: Pair,
) -> None:
    """Not so; it would be if only who wrote a file's name had it synced. The monitor tells."""
    one, other = pair
    one.create_topic("t", erasable=True)
    assert other.topic("t").partition(0).end_offset == 0
    other._engine.shrink_wal()
    send(one, b"x")  # this makes the file of the salts
    other._engine.shrink_wal()
    assert not other._engine.logs()[0].names_unsynced


def test_a_sealed_segment_grew_where_another_process_prepared_space_in_it(pair: Pair) -> None:
    """It looked whether others write, and they began to right after."""
    one, other = pair
    one.create_topic("t", segment_bytes=2 * AHEAD)
    value = b"x" * (64 << 10)
    while one.topic("t").partition(0).end_offset * len(value) < AHEAD:
        send(one, *[value] * 8)
    log = one._engine.logs()[0]
    first, sealed = log.active, log.active.path
    log.write_out()
    assert os.path.getsize(sealed) >= first.end_position + AHEAD, "beside a writer it is prepared"
    send(other, *[value] * 8)
    while not other._engine.logs()[0].segments:
        send(other, *[value] * 8)
    size = os.path.getsize(sealed)
    assert log.active is first, "it does not know"
    first._allocated = first.end_position
    log.write_out()
    assert os.path.getsize(sealed) == size
    assert one.topic("t").partition(0).verify().end_offset == one.topic("t").partition(0).end_offset


def test_who_seals_a_segment_waits_for_who_prepares_space_in_it(tmp_path: Path) -> None:
    path, files, order = str(tmp_path / "segment"), Files(), []
    os.close(files.create(path))
    inside, goes_on = threading.Event(), threading.Event()

    def is_last() -> bool:
        inside.set()
        assert goes_on.wait(30)
        order.append("prepared")
        return True

    preparing = threading.Thread(target=lambda: set_aside(files, path, 0, is_last))
    preparing.start()
    assert inside.wait(30)
    waited = [0]
    lock = files.lock

    def look(descriptor: int, **how: bool) -> bool:
        got = lock(descriptor, **how)
        if not got:
            waited[0] += 1
            goes_on.set()
        return got

    files.lock = look  # type: ignore[method-assign]
    with blocking_preallocation(files, path):
        order.append("sealed")
        assert set_aside(files, path, 0, lambda: True) == 0, "not meanwhile"
    preparing.join(30)
    assert order == ["prepared", "sealed"]
    assert waited[0]


@pytest.mark.parametrize("partitions", [2, 3])
def test_records_on_their_way_to_a_topic_that_is_made_again_go_there_if_it_is_alike(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    """As `send` does; `send_nowait` refused them with UnknownTopicError."""
    one, other = pair
    one.create_topic("t", partitions=2)
    one.create_topic("beside")
    producer, turn = other.producer(), other._engine.turn
    for topic, partition in (("t", 1), ("beside", 0)):
        assert producer.send(topic, b"before", partition=partition).offset == 0
    made_again = threading.Event()
    take = turn.take
    monkeypatch.setattr(turn, "take", lambda: made_again.wait(30) and take())
    deliveries = [producer.send_nowait("t", b"%d" % i, partition=1) for i in range(3)]
    deliveries.append(producer.send_nowait("beside", b"x"))
    one.delete_topic("t")
    one.create_topic("t", partitions=partitions)
    made_again.set()
    if partitions == 2:
        assert [delivery.result(30).offset for delivery in deliveries] == [0, 1, 2, 1]
        records = one.topic("t").partition(1).read_range(0, 3)
        assert [record.value for record in records] == [b"0", b"1", b"2"]
    else:  # keys are spread otherwise there
        with pytest.raises(UnknownTopicError, match="deleted"):
            deliveries[0].result(30)
        assert one.topic("t").partition(1).end_offset == 0


def test_retention_that_another_process_had_set_ended_with_that_process(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a broker that found limits when it opened, or set them, applied them."""
    monkeypatch.setattr(maintenance, "RETENTION_INTERVAL_S", 0.01)
    one, other = pair
    one.create_topic("t", segment_bytes=4096)
    for _ in range(4):
        send(other, *[b"x" * 900] * 4)
    one.topic("t").alter(retention=RetentionConfig(max_records=2))
    crash(one)
    assert send(other, b"y") == [16]
    partition = other.topic("t").partition(0)
    wait_until(lambda: partition.start_offset == 15)


def test_files_of_the_log_that_a_dead_process_had_ended_are_used_again(pair: Pair) -> None:
    """Who ends a file makes it free; for who is gone another does."""
    one, other = pair
    one.create_topic("t")
    assert send(other, b"x") == [0]
    wal = one._engine.writer.wal
    one._engine.maintenance.stop()  # it dies before its background work begins
    while not wal._retired:
        send(one, b"x" * 50_000)
    crash(one)
    log = other._engine.writer.wal
    send(other, b"x")
    assert log._retired
    while not log._ended_one:
        send(other, b"x" * 50_000)
    wait_until(lambda: not log._retired)


def test_the_files_of_the_log_do_not_pile_up_where_their_ender_has_no_turn(pair: Pair) -> None:
    one, other = pair
    one.create_topic("t")
    assert send(other, b"x") == [0]
    one._engine.maintenance.stop()
    wal = one._engine.writer.wal
    while len(wal._retired) <= LEFT_FILES_MAX:
        send(one, b"x" * 50_000)
    send(other, b"x")
    wait_until(lambda: not other._engine.writer.wal._retired)
    send(other, b"x")  # says so
    send(one, b"x")
    assert not wal._retired


def test_background_work_on_a_topic_that_another_process_deleted_stopped_the_writer(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory was gone before this process's next turn: taken for a sync that failed."""
    monkeypatch.setattr(maintenance.Maintenance, "wake", lambda self: None)
    one, other = pair
    one.create_topic("t", segment_bytes=4096)
    sync_segments(one._engine.writer, one._engine)
    for _ in range(3):
        send(one, b"x" * 2000)  # a new segment: its name is still to be synced
    other.delete_topic("t")
    sync_segments(one._engine.writer, one._engine)
    assert send(one, b"y", topic="u") == [0]


def test_syncing_a_file_that_is_gone_made_an_empty_one_of_its_name(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a deleted topic was made again: a stray segment behind its end."""
    monkeypatch.setattr(maintenance.Maintenance, "wake", lambda self: None)
    one, _ = pair
    send(one, b"x")
    segment = one._engine.logs()[0].active.path
    one._engine.pool.sync(segment)
    one._engine.pool.forget(segment)  # as where descriptors are short
    os.rename(segment, segment + ".aside")
    with pytest.raises(FileNotFoundError):
        one._engine.pool.sync(segment)
    assert not os.path.exists(segment)
    os.rename(segment + ".aside", segment)


def test_a_partition_that_another_process_added_was_unknown_to_who_sent_to_it(pair: Pair) -> None:
    one, other = pair
    one.create_topic("t")
    topic = other.topic("t")
    assert send(other, b"x") == [0]
    one.topic("t").add_partitions(3)
    assert send(other, b"y", partition=2) == [0]
    one.topic("t").add_partitions(4)
    assert topic.partition(3).end_offset == 0
    with pytest.raises(UnknownPartitionError, match="has no partition 4: it has 4"):
        topic.partition(4)
