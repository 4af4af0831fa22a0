"""How often the disk is asked to sync, counted at the file seam, and in which order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from merkql import BrokerConfig, ProducerRecord, RetentionConfig
from merkql.broker import Broker
from merkql.storage import maintenance, partition_log
from support.monitor import MonitorFiles


@pytest.fixture
def monitor() -> Iterator[MonitorFiles]:
    files = MonitorFiles()
    yield files
    assert not files.broken


@pytest.fixture
def broker(tmp_path: Path, monitor: MonitorFiles) -> Iterator[Broker]:
    with Broker(BrokerConfig(tmp_path, default_partitions=8), monitor) as broker:
        broker.producer().send_batch(over_eight(b"first"))
        yield broker


def over_eight(value: bytes) -> list[ProducerRecord]:
    return [ProducerRecord("t", value, partition=index) for index in range(8)]


def syncs_of(monitor: MonitorFiles, work: Callable[[], object]) -> dict[str, int]:
    before = monitor.syncs.copy()
    work()
    return dict(monitor.syncs - before)


def test_a_lone_send_is_one_sync(broker: Broker, monitor: MonitorFiles) -> None:
    producer = broker.producer()
    for _ in range(5):
        assert syncs_of(monitor, lambda: producer.send("t", b"one")) == {"wal": 1}


def test_a_batch_over_eight_partitions_is_one_sync(broker: Broker, monitor: MonitorFiles) -> None:
    producer = broker.producer()
    assert syncs_of(monitor, lambda: producer.send_batch(over_eight(b"x"))) == {"wal": 1}


def test_a_batch_over_two_topics_is_one_sync(broker: Broker, monitor: MonitorFiles) -> None:
    producer = broker.producer()
    producer.send("u", b"first", partition=0)
    records = [*over_eight(b"x"), ProducerRecord("u", b"x", partition=0)]
    assert syncs_of(monitor, lambda: producer.send_batch(records)) == {"wal": 1}


def test_many_values_are_one_sync(broker: Broker, monitor: MonitorFiles) -> None:
    values = [b"x" * 20] * 1000
    work = lambda: broker.producer().send_values("t", values, partition=0)  # noqa: E731
    assert syncs_of(monitor, work) == {"wal": 1}


def test_sixty_four_threads_share_syncs(broker: Broker, monitor: MonitorFiles) -> None:
    """While one group syncs the others queue up: far fewer syncs than records."""
    producer = broker.producer()
    gate = threading.Barrier(64)

    def work() -> None:
        gate.wait()
        for _ in range(5):
            producer.send("t", b"x")

    threads = [threading.Thread(target=work) for _ in range(64)]

    def all_of_them() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert 1 <= syncs_of(monitor, all_of_them)["wal"] <= 320 // 4


def test_queued_records_share_one_sync_a_group(broker: Broker, monitor: MonitorFiles) -> None:
    producer = broker.producer()

    def work() -> None:
        for _ in range(500):
            producer.send_nowait("t", b"x")
        assert producer.flush() == 0

    assert 1 <= syncs_of(monitor, work)["wal"] <= 100


def test_disk_durability_syncs_nothing_on_the_way(broker: Broker, monitor: MonitorFiles) -> None:
    broker.create_topic("fast", durability="disk")
    producer = broker.producer()
    producer.send("fast", b"first", partition=0)
    assert syncs_of(monitor, lambda: producer.send("fast", b"x", partition=0)) == {}


def test_a_sync_point_syncs_what_cannot_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The segment, salts and new names; index and tree once in a while, and when it rolls."""
    monkeypatch.setattr(maintenance.Maintenance, "wake", lambda self: None)
    monkeypatch.setattr(partition_log, "DERIVED_SYNC_BYTES", 8000)
    files = MonitorFiles()
    with Broker(BrokerConfig(tmp_path), files) as broker:
        broker.create_topic("t", erasable=True)
        writer, producer = broker._engine.writer, broker.producer()

        def synced() -> dict[str, int]:
            producer.send_values("t", [b"x" * 100] * 30)
            return syncs_of(files, lambda: maintenance.sync_segments(writer, broker._engine))

        assert synced() == {"log": 1, "salts": 1, "directory": 2}
        assert synced() == {"log": 1, "salts": 1}
        assert synced() == {"log": 1, "salts": 1, "index": 1, "tree": 2}
        assert synced() == {"log": 1, "salts": 1}
        assert syncs_of(files, lambda: maintenance.sync_segments(writer, broker._engine)) == {}
        roll = next(iter(broker._engine.partitions.logs.values())).roll
        assert syncs_of(files, roll) == {"log": 1, "salts": 1, "index": 1, "tree": 2}
    assert not files.broken


def test_reading_syncs_nothing(broker: Broker, monitor: MonitorFiles) -> None:
    def work() -> None:
        partition = broker.topic("t").partition(0)
        partition.read(0)
        partition.proof(0)
        partition.verify()
        with broker.consumer("g", auto_commit=False) as consumer:
            consumer.subscribe(["t"])
            consumer.poll()

    assert syncs_of(monitor, work) == {}


def test_order_is_kept_through_rolls_retention_compaction_and_deletion(
    broker: Broker, monitor: MonitorFiles
) -> None:
    """The monitor's rules hold through everything that removes or renames a file."""
    broker.create_topic(
        "small", partitions=1, segment_bytes=4096, retention=RetentionConfig(max_records=9)
    )
    producer = broker.producer()
    for number in range(40):
        producer.send("small", b"x" * 700, key=b"%d" % number)
        if number % 10 == 9:
            broker.apply_retention()
    broker.topic("small").partition(0).compact()
    broker.topic("t").add_partitions(9)
    broker.delete_topic("t")
    broker.close()
    assert not monitor.broken


def test_a_fresh_directory_is_durable_with_eight_syncs(tmp_path: Path) -> None:
    """One for each file and directory that a power cut may take, and no directory twice."""
    files = MonitorFiles()

    with Broker(BrokerConfig(tmp_path / "new"), files) as broker:
        # merkql.json, the names in its directory, and that one's own.
        assert files.syncs == {"tmp": 1, "directory": 2}
        first = syncs_of(files, lambda: broker.producer().send("events", b"first"))
        # topic.json, the names beside it, its directory's own; wal/ and the frame.
        assert first == {"topic.json": 1, "directory": 3, "wal": 1}
    assert not files.broken


def test_a_partition_is_made_without_a_sync_of_its_own(tmp_path: Path) -> None:
    files = MonitorFiles()
    with Broker(BrokerConfig(tmp_path), files) as broker:
        few = syncs_of(files, lambda: broker.create_topic("few", partitions=1))
        assert syncs_of(files, lambda: broker.create_topic("many", partitions=50)) == few


def test_partitions_that_were_only_looked_at_are_closed_without_a_sync(tmp_path: Path) -> None:
    with Broker.open(tmp_path, default_partitions=8) as broker:
        broker.producer().send_batch(over_eight(b"x"))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()}
    files = MonitorFiles()

    def look() -> None:
        with Broker(BrokerConfig(tmp_path), files) as broker:
            for partition in broker.topic("t").partitions():
                assert partition.read(0).value == b"x"
                partition.proof(0)

    assert syncs_of(files, look) == {}
    assert {path: path.stat().st_mtime_ns for path in before} == before

    def write_to_one() -> None:
        with Broker(BrokerConfig(tmp_path), files) as broker:
            broker.topic("t").partition(0).read(0)
            broker.producer().send("t", b"y", partition=1)

    write_to_one()
    assert files.syncs["tail"] == 1  # of eight
    assert not files.broken


def test_a_temporary_broker_sets_no_space_aside() -> None:
    """Blocks that are given back at once cost more to make and to free than the records do."""
    with Broker.temporary() as broker:
        broker.producer().send("events", b"one")
        files = [path for path in Path(broker.config.path).rglob("*.*") if path.is_file()]
        assert {path.suffix for path in files} >= {".log", ".index", ".wal"}
        assert max(path.stat().st_blocks * 512 for path in files) <= 16 << 10
