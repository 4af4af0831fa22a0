"""Every operation fails in turn, once and from then on: what is said, kept, lost?

Goal: an error acknowledges nothing, loses nothing that was, and ends where the rules say: a full
disk heals, a failed sync stops the writer until the directory is opened again. Method: the work is
done again and again with its n-th file operation failing, n = 0, 1, 2 … until it gets through.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from merkql import (
    BrokerConfig,
    MerkqlError,
    ProducerRecord,
    RetentionConfig,
    WriterFailedError,
)
from merkql.broker import Broker
from merkql.storage import maintenance, wal
from support.faulty_files import FaultyFiles, FullDisk

TURNS_MAX = 400  # no call here needs more operations


@dataclass
class Acknowledged:
    """What was promised, and what was offered without an answer."""

    records: dict[tuple[str, int], dict[int, bytes]] = field(default_factory=dict)
    offered: set[bytes] = field(default_factory=set)

    def note(self, topic: str, partition: int, offset: int, value: bytes) -> None:
        known = self.records.setdefault((topic, partition), {})
        assert offset not in known, f"{topic}/{partition}: offset {offset} was given twice"
        known[offset] = value


@dataclass
class Work:
    broker: Broker
    known: Acknowledged
    step: int = 0

    def send(self, topic: str = "t", partition: int = 0, size: int = 10) -> None:
        value = b"%d:" % self.step + bytes(size)
        self.step += 1
        self.known.offered.add(value)
        metadata = self.broker.producer().send(topic, value, partition=partition)
        self.known.note(topic, partition, metadata.offset, value)

    def batch(self) -> None:
        values = [b"%d:" % (self.step + i) for i in range(6)]
        self.step += 6
        self.known.offered.update(values)
        records = [ProducerRecord("t", v, partition=i % 3) for i, v in enumerate(values)]
        for metadata, value in zip(self.broker.producer().send_batch(records), values, strict=True):
            self.known.note("t", metadata.partition, metadata.offset, value)


def sends(work: Work) -> None:
    work.send()
    work.batch()
    work.send(size=3000)


def rolls(work: Work) -> None:
    for _ in range(4):
        work.send("small", size=1500)


def changes_wal_files(work: Work) -> None:
    for _ in range(6):
        work.send(size=6000)
        engine = work.broker._engine
        maintenance.tend(engine.writer, engine)
        maintenance.sync_segments(engine.writer, engine)


def makes_a_topic(work: Work) -> None:
    work.broker.create_topic("new", partitions=2)
    work.send("new", 1)


def adds_partitions(work: Work) -> None:
    work.broker.topic("t").add_partitions(5)
    work.send("t", 4)


def retains(work: Work) -> None:
    for _ in range(3):
        work.send("few", size=1500)
    work.broker.apply_retention()
    work.broker.topic("few").partition(0).compact()
    work.send("few")


JOBS = [sends, rolls, changes_wal_files, makes_a_topic, adds_partitions, retains]


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(maintenance.Maintenance, "wake", lambda self: None)
    monkeypatch.setattr(maintenance.Maintenance, "watch_retention", lambda self: None)
    monkeypatch.setattr(wal, "FILE_SIZE_MIN", 16 << 10)
    monkeypatch.setattr(wal, "FILE_SIZE_MAX", 16 << 10)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as path:
        logging.disable(logging.CRITICAL)
        yield Path(path)
        logging.disable(logging.NOTSET)


def prepare(path: Path, known: Acknowledged) -> None:
    with Broker(BrokerConfig(path)) as broker:
        broker.create_topic("t", partitions=3)
        broker.create_topic("small", segment_bytes=4096)
        broker.create_topic("few", segment_bytes=4096, retention=RetentionConfig(max_records=2))
        work = Work(broker, known, 1000)
        work.batch()
        work.send("small", size=2000)
        for _ in range(3):
            work.send("few", size=1500)


Run = tuple[Broker, Acknowledged, BaseException | None]


def run(path: Path, job: Callable[[Work], None], files: FaultyFiles | FullDisk, turn: int) -> Run:
    """Do ``job`` with its ``turn``-th operation failing; the seam works again afterwards."""
    known = Acknowledged()
    prepare(path, known)
    broker = Broker(BrokerConfig(path), files)
    raised: BaseException | None = None
    files.arm(turn)
    try:
        job(Work(broker, known))
    except (OSError, MerkqlError) as caught:
        raised = caught
    files.heal()
    return broker, known, raised


def check(broker: Broker, known: Acknowledged) -> None:
    for (topic, index), records in known.records.items():
        partition = broker.topic(topic).partition(index)
        start, end = partition.start_offset, partition.end_offset
        assert end > max(records)
        for record in partition.read_range(start, end):
            assert record.value in known.offered
            assert records.get(record.offset, record.value) == record.value
        if topic != "few":
            assert start == 0
        partition.verify()


def end_session(broker: Broker) -> None:
    try:
        broker.close()
    except (OSError, MerkqlError):
        pass  # what cannot be made durable is said; the directory is free all the same


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for_ever"])
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
def test_nothing_acknowledged_is_lost_when_an_operation_fails(
    root: Path, job: Callable[[Work], None], lasting: bool
) -> None:
    for turn in range(TURNS_MAX):
        files = FaultyFiles(lasting=lasting)
        broker, known, raised = run(root / str(turn), job, files, turn)
        assert (raised is None) or files.failed
        check(broker, known)  # reading goes on whatever happened to writing
        end_session(broker)
        with Broker(BrokerConfig(broker._directory)) as again:
            check(again, known)
            Work(again, known, 5000).batch()
            check(again, known)
        shutil.rmtree(root / str(turn))
        if not files.failed:
            return
    raise AssertionError(f"not through after {TURNS_MAX} operations")


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
def test_a_full_disk_heals_by_itself(root: Path, job: Callable[[Work], None]) -> None:
    """Nothing is acknowledged meanwhile; with space again the same broker goes on."""
    for turn in range(TURNS_MAX):
        files = FullDisk()
        broker, known, raised = run(root / str(turn), job, files, turn)
        assert raised is None or files.refused
        if job is not retains:  # which does without the start file, and says so in the log
            assert raised is not None or not files.refused
        check(broker, known)
        Work(broker, known, 5000).batch()
        check(broker, known)
        broker.close()
        with Broker(BrokerConfig(broker._directory)) as again:
            check(again, known)
        shutil.rmtree(root / str(turn))
        if not files.refused:
            return
    raise AssertionError(f"not through after {TURNS_MAX} operations")


@pytest.mark.parametrize("job", [sends, rolls, retains], ids=lambda job: job.__name__)
def test_a_failed_sync_is_never_tried_again(root: Path, job: Callable[[Work], None]) -> None:
    """The second try would succeed without the data: the writer stops until it is reopened."""
    for turn in range(TURNS_MAX):
        files = FaultyFiles(("sync",))
        files.spared = ".tmp"  # these are written anew, whole, before they are synced again
        broker, known, raised = run(root / str(turn), job, files, turn)
        if not files.failed:
            assert turn > 1
            end_session(broker)
            return
        assert isinstance(raised, OSError | MerkqlError)
        with pytest.raises(WriterFailedError, match="close the broker and open it again"):
            broker.producer().send("t", b"refused", partition=0)
        check(broker, known)
        end_session(broker)
        with Broker(BrokerConfig(broker._directory)) as again:
            check(again, known)
        shutil.rmtree(root / str(turn))
    raise AssertionError(f"not through after {TURNS_MAX} operations")
