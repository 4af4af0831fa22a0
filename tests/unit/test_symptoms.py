"""Bugs that were found by using the library, each named after what one saw."""

from __future__ import annotations

import copy
import gc
import glob
import itertools
import logging
import os
import shutil
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from merkql import (
    Broker,
    BrokerConfig,
    ClosedError,
    CorruptionError,
    FormatError,
    MerkqlError,
    Partition,
    ProducerRecord,
    RetentionConfig,
    UnknownTopicError,
    WriterFailedError,
)
from merkql.storage import maintenance
from merkql.storage.files import Files


class CountingFiles(Files):
    """Counts syncs, and fails the one it is told to."""

    def __init__(self) -> None:
        self.syncs = 0
        self.directory_syncs = 0
        self.fail = False

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        if self.fail:
            raise OSError(5, "Input/output error")
        super().sync(descriptor)

    def sync_directory(self, path: str) -> None:
        self.directory_syncs += 1
        super().sync_directory(path)


def flip(path: str, position: int) -> None:
    content = bytearray(Path(path).read_bytes())
    content[position] ^= 1
    Path(path).write_bytes(bytes(content))


def filled(path: Path, count: int = 100, **options: object) -> Broker:
    broker = Broker.open(path)
    broker.create_topic("t", segment_bytes=8192, **options)  # type: ignore[arg-type]
    with broker.producer() as producer:
        for number in range(count):
            producer.send("t", b"value %d" % number)
    return broker


def test_a_dropped_broker_kept_its_directory_locked(tmp_path: Path) -> None:
    broker = Broker.open(tmp_path)
    broker.producer().send("t", b"1")
    with pytest.warns(ResourceWarning, match="was not closed"):
        del broker
    with Broker.open(tmp_path) as again:
        assert again.topic("t").partition(0).end_offset == 1


def test_a_dropped_consumer_kept_its_partitions(tmp_path: Path) -> None:
    with filled(tmp_path, 1) as broker:
        first = broker.consumer("g")
        first.subscribe(["t"])
        assert first.poll()
        del first
        gc.collect()
        second = broker.consumer("g")
        second.subscribe(["t"])
        assert second.poll(timeout=5)


def test_a_partitioner_that_returned_true_broke_partition_1(tmp_path: Path) -> None:
    with Broker.open(tmp_path, default_partitions=3) as broker:
        with pytest.raises(ValueError, match="True"):
            broker.producer(partitioner=lambda key, count: True).send("t", b"x", key=b"k")
        assert broker.producer().send("t", b"x", partition=1).offset == 0


def test_an_index_like_number_of_another_library_was_refused(tmp_path: Path) -> None:
    class Index:
        def __index__(self) -> int:
            return 2

    with Broker.open(tmp_path, default_partitions=3) as broker:
        producer = broker.producer(partitioner=lambda key, count: Index())  # type: ignore[arg-type,return-value]
        assert producer.send("t", b"x", key=b"k").partition == 2


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda p: p.fetch(0, max_records=0), ValueError),
        (lambda p: p.fetch(0, max_bytes=-1), ValueError),
        (lambda p: p.fetch(0, max_bytes="x"), TypeError),
        (lambda p: p.read_range(5, 2), ValueError),
        (lambda p: p.salvage(5, 1), ValueError),
        (lambda p: p.salvage(0, "x"), TypeError),
    ],
)
def test_wrong_limits_were_taken_for_damage(
    tmp_path: Path, call: Callable[[Partition], object], error: type[Exception]
) -> None:
    with filled(tmp_path, 3) as broker, pytest.raises(error):
        call(broker.topic("t").partition(0))


def test_a_handle_of_a_deleted_topic_changed_the_new_one(tmp_path: Path) -> None:
    with filled(tmp_path, 3) as broker:
        old = broker.topic("t")
        broker.delete_topic("t")
        new = broker.create_topic("t")
        broker.producer().send("t", b"new")
        for change in (
            lambda: old.add_partitions(3),
            lambda: old.alter(durability="disk"),
            lambda: old.partition(0).compact(),
            lambda: old.partition(0).read(0),
        ):
            with pytest.raises(UnknownTopicError):
                change()
        new_id = new.id
    with Broker.open(tmp_path) as again:
        assert again.topic("t").id == new_id
        assert [r.value for r in again.topic("t").partition(0).read_range(0, 1)] == [b"new"]


def test_a_readers_handle_of_a_deleted_topic_said_that_a_file_was_missing(tmp_path: Path) -> None:
    """Where its start depends on the age of records, it was looked for without asking first."""
    with filled(tmp_path, 2) as broker, Broker.open(tmp_path, read_only=True) as reader:
        topic = broker.topic("t")
        topic.alter(retention=RetentionConfig(max_age_ms=1 << 40))
        handle = reader.topic("t").partition(0)
        assert handle.end_offset == 2
        broker.delete_topic("t")
        for ask in (
            lambda: handle.read(0),
            lambda: handle.read_range(0, 2),
            lambda: handle.read_range(0, 9),
            lambda: handle.fetch(0),
            lambda: handle.entries(0, 2),
            lambda: handle.offset_for_timestamp(0),
            lambda: handle.proof(0),
            lambda: handle.prove_range(0, 2),
            handle.root,
            handle.verify,
            lambda: handle.start_offset,
            lambda: handle.end_offset,
        ):
            with pytest.raises(UnknownTopicError, match="'t'"):
                ask()


def test_a_flipped_byte_in_a_stored_hash_stayed_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with filled(tmp_path) as broker:
        root = broker.topic("t").partition(0).root()
        leaf = broker.topic("t").partition(0).proof(7).leaf_hash
    path = glob.glob(f"{tmp_path}/topics/t/0/tree/h00")[0]
    whole = Path(path).read_bytes()
    flip(path, 7 * 32)
    with (
        caplog.at_level(logging.WARNING, "merkql.recovery"),
        Broker.open(tmp_path) as broker,
    ):
        partition = broker.topic("t").partition(0)
        assert partition.find(leaf) == 7
        assert partition.verify().root == root
    assert "rebuilding the tree" in caplog.text
    assert Path(path).read_bytes() == whole


def test_a_reader_reports_what_a_writer_would_mend(tmp_path: Path) -> None:
    filled(tmp_path).close()
    path = glob.glob(f"{tmp_path}/topics/t/0/tree/h00")[0]
    flip(path, 0)
    damaged = Path(path).read_bytes()
    with (
        Broker.open(tmp_path, read_only=True) as broker,
        pytest.raises(CorruptionError, match="h00"),
    ):
        broker.topic("t").partition(0).verify()
    assert Path(path).read_bytes() == damaged


def test_first_batch_over_eight_partitions_took_many_syncs(tmp_path: Path) -> None:
    files = CountingFiles()
    with Broker(BrokerConfig(tmp_path), files) as broker:
        broker.create_topic("t", partitions=8)
        producer = broker.producer()
        batch = [ProducerRecord("t", b"x", partition=index) for index in range(8)]
        files.syncs = files.directory_syncs = 0
        producer.send_batch(batch)
        assert (files.syncs, files.directory_syncs) == (1, 1)  # the directory: of the WAL's file
        producer.send_batch(batch)
        assert (files.syncs, files.directory_syncs) == (2, 1)


def test_segments_of_a_program_that_restarts_often_never_aged(tmp_path: Path) -> None:
    hour_ms = 3_600_000
    for day in range(3):
        with Broker.open(tmp_path) as broker:
            if not day:
                broker.create_topic("t", segment_age_ms=hour_ms)
            broker.producer().send("t", b"x", timestamp_ms=day * 24 * hour_ms)
            broker.producer().send("t", b"x", timestamp_ms=day * 24 * hour_ms + 1)
    assert len(glob.glob(f"{tmp_path}/topics/t/0/*.log")) == 3


def test_a_topic_of_a_newer_format_was_called_damaged(tmp_path: Path) -> None:
    filled(tmp_path, 1).close()
    path = tmp_path / "topics" / "t" / "topic.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 9'))
    with Broker.open(tmp_path) as broker:
        with pytest.raises(FormatError, match="install a newer one"):
            broker.topic("t")
        assert broker.producer().send("other", b"x").offset == 0


def test_salvage_believed_a_damaged_offset(tmp_path: Path) -> None:
    with filled(tmp_path, 40) as broker:
        want = {r.offset: r for r in broker.topic("t").partition(0).read_range(0, 40)}
    path = glob.glob(f"{tmp_path}/topics/t/0/*0.log")[0]
    whole = Path(path).read_bytes()
    size = 12 + int.from_bytes(whole[8:12], "big")  # each record was sent alone: 10 of equal size
    for position in range(5 * size, 6 * size):
        flip(path, position)
        with Broker.open(tmp_path, read_only=True) as broker:
            found = broker.topic("t").partition(0).salvage()
        ignored = 12 <= position - 5 * size < 16  # the leader epoch, which says nothing here
        assert len(found.damage) == (0 if ignored else 1), position
        left = [n for n in range(40) if n != 5 or ignored]
        assert [r.offset for r in found.records] == left, position
        assert all(want[r.offset] == r for r in found.records)
        Path(path).write_bytes(whole)


def test_a_missing_segment_was_passed_in_silence(tmp_path: Path) -> None:
    filled(tmp_path, 300).close()
    logs = sorted(glob.glob(f"{tmp_path}/topics/t/0/*.log"))
    assert len(logs) > 2
    first, after = (int(os.path.basename(path)[:20]) for path in logs[1:3])
    os.unlink(logs[1])
    with Broker.open(tmp_path, read_only=True) as broker:
        partition = broker.topic("t").partition(0)
        found = partition.salvage()
        assert [str(one) for one in found.damage if "missing" in str(one)]
        missing = set(range(first, after))
        assert {r.offset for r in found.records} == set(range(300)) - missing
        for ask in (lambda: partition.read(first), partition.verify):
            with pytest.raises(CorruptionError, match=f"offsets {first} to {after - 1} are"):
                ask()


def test_only_sends_were_refused_after_a_failed_sync(tmp_path: Path) -> None:
    files = CountingFiles()
    broker = Broker(BrokerConfig(tmp_path), files)
    topic = broker.create_topic("t")
    producer = broker.producer()
    producer.send("t", b"durable")
    files.fail = True
    with pytest.raises(OSError, match="Input/output"):
        producer.send("t", b"lost, perhaps")
    files.fail = False
    for change in (
        lambda: producer.send("t", b"x"),
        lambda: broker.create_topic("u"),
        lambda: broker.delete_topic("t"),
        lambda: topic.add_partitions(2),
        lambda: topic.alter(durability="disk"),
        lambda: topic.partition(0).compact(),
        broker.apply_retention,
    ):
        with pytest.raises(WriterFailedError, match="Input/output"):
            change()
    assert [r.value for r in topic.partition(0).read_range(0, 1)] == [b"durable"]
    assert topic.partition(0).end_offset == 1
    broker.close()
    with Broker.open(tmp_path) as again:
        assert again.topic("t").partition(0).read(0).value == b"durable"


def test_one_damaged_partition_failed_the_deliveries_of_others(tmp_path: Path) -> None:
    filled(tmp_path, 50).close()
    os.unlink(tmp_path / "clean")
    path = glob.glob(f"{tmp_path}/topics/t/0/*0.log")[0]
    flip(path, 100)
    os.unlink(tmp_path / "topics" / "t" / "0" / "tail")
    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        with pytest.raises(CorruptionError):
            producer.send_nowait("t", b"x")
        assert producer.send_nowait("fine", b"x").result(10).offset == 0
        for ask in (
            broker.topic("t").partition(0).root,
            lambda: broker.topic("t").partition(0).proof(0),
        ):
            with pytest.raises(CorruptionError):
                ask()


def test_a_creation_that_failed_left_its_directory(tmp_path: Path) -> None:
    class Full(Files):
        def make_directory(self, path: str) -> None:
            if path.endswith("/1"):
                raise OSError(28, "No space left on device", path)
            super().make_directory(path)

    with Broker(BrokerConfig(tmp_path), Full()) as broker:
        with pytest.raises(OSError, match="No space"):
            broker.create_topic("t", partitions=2)
        assert os.listdir(tmp_path / "topics") == []
        assert broker.topics() == []


def test_names_that_differ_by_case_only_on_a_folding_file_system(tmp_path: Path) -> None:
    class Folding(Files):
        def status(self, path: str) -> os.stat_result | None:
            names = {name.lower(): name for name in os.listdir(os.path.dirname(path))}
            found = names.get(os.path.basename(path).lower())
            return super().status(os.path.join(os.path.dirname(path), found)) if found else None

    with Broker(BrokerConfig(tmp_path), Folding()) as broker:
        broker.create_topic("Orders")
        with pytest.raises(ValueError, match="case"):
            broker.create_topic("orders")
        assert broker.topics() == ["Orders"]


def test_a_proof_of_an_erasable_record_did_not_outlive_retention(tmp_path: Path) -> None:
    with filled(tmp_path, 50, erasable=True) as broker:
        partition = broker.topic("t").partition(0)
        saved = partition.read(5)
        assert partition.proof(5).verify(saved, partition.root())
        broker.topic("t").alter(retention=RetentionConfig(max_records=10))
        assert partition.compact() > 0
        proof = partition.proof(5)
        assert proof.entry is None
        assert proof.verify(saved, partition.root())


def test_retention_set_later_was_not_applied_in_the_background(tmp_path: Path) -> None:
    with filled(tmp_path, 10) as broker:
        before = {thread.name for thread in broker.threads}
        broker.topic("t").alter(retention=RetentionConfig(max_records=5))
        after = {thread.name for thread in broker.threads}
        assert "merkql-maintenance" in after | before


@pytest.mark.parametrize("durability", ["fsync", "disk"])
def test_derived_files_in_any_combination_are_made_again_byte_for_byte(
    tmp_path: Path, durability: str
) -> None:
    filled(tmp_path, 200, durability=durability).close()
    directory = tmp_path / "topics" / "t" / "0"
    derived = [*directory.glob("*.index"), *directory.glob("tree/*"), directory / "tail"]
    whole = {path: path.read_bytes() for path in derived}
    kinds = [list(directory.glob("*.index")), list(directory.glob("tree/*")), [directory / "tail"]]
    for chosen in itertools.product(("keep", "delete", "damage"), repeat=3):
        for paths, what in zip(kinds, chosen, strict=True):
            for path in paths:
                if what == "delete":
                    path.unlink()
                elif what == "damage":
                    flip(str(path), len(whole[path]) // 2)
        with Broker.open(tmp_path) as broker:
            partition = broker.topic("t").partition(0)
            partition.verify()
            assert [r.value for r in partition.read_range(0, 200)] == [
                b"value %d" % number for number in range(200)
            ]
            assert partition.proof(3).verify(partition.read(3), partition.root())
            broker.producer()
        assert {path: path.read_bytes() for path in derived} == whole, chosen


def test_errors_are_all_of_one_family() -> None:
    import merkql

    named = [getattr(merkql, name) for name in merkql.__all__ if name.endswith("Error")]
    apart = {error for error in named if not issubclass(error, MerkqlError)}
    assert apart == {merkql.ProofError}  # it stands alone, with proof.py


def test_poll_stopped_at_the_end_of_a_segment(tmp_path: Path) -> None:
    with filled(tmp_path, 300) as broker:
        assert len(glob.glob(f"{tmp_path}/topics/t/0/*.log")) > 2
        consumer = broker.consumer("g")
        consumer.subscribe(["t"])
        assert [record.offset for record in consumer.poll()] == list(range(300))


def test_an_erasable_topic_without_its_salts_was_written_on(tmp_path: Path) -> None:
    filled(tmp_path, 20, erasable=True).close()
    salts = tmp_path / "topics" / "t" / "0" / "tree" / "salts"
    whole = salts.read_bytes()
    salts.unlink()
    with Broker.open(tmp_path) as broker, pytest.raises(CorruptionError, match="salts"):
        broker.producer().send("t", b"x")
    salts.write_bytes(whole)
    with Broker.open(tmp_path) as broker:
        partition = broker.topic("t").partition(0)
        assert broker.producer().send("t", b"x").offset == 20
        assert partition.proof(3).verify(partition.read(3), partition.root())


def test_a_reader_after_compaction_missed_a_segment(tmp_path: Path) -> None:
    with filled(tmp_path, 300) as broker, Broker.open(tmp_path, read_only=True) as reader:
        seen = reader.topic("t").partition(0)
        assert seen.read(5).value == b"value 5"
        broker.topic("t").alter(retention=RetentionConfig(max_records=100))
        broker.topic("t").partition(0).compact()
        assert seen.read(seen.start_offset).offset >= 200
        assert seen.read(250).value == b"value 250"


def test_an_error_that_is_kept_gathered_tracebacks(tmp_path: Path) -> None:
    filled(tmp_path, 20).close()
    (tmp_path / "clean").unlink()
    (tmp_path / "topics" / "t" / "0" / "tail").unlink()
    flip(glob.glob(f"{tmp_path}/topics/t/0/*0.log")[0], 100)
    lengths = set()
    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        for _ in range(5):
            with pytest.raises(CorruptionError) as caught:
                producer.send("t", b"x")
            lengths.add(len(caught.traceback))
    assert len(lengths) == 1


def test_a_reader_served_a_deleted_topic_under_the_new_one(tmp_path: Path) -> None:
    with filled(tmp_path, 50) as broker, Broker.open(tmp_path, read_only=True) as reader:
        old = reader.topic("t").partition(0)
        assert old.end_offset == 50
        broker.delete_topic("t")
        broker.create_topic("t")
        broker.producer().send("t", b"new")
        assert reader.topic("t").partition(0).read(0).value == b"new"
        assert reader.topic("t").partition(0).end_offset == 1
        with pytest.raises(UnknownTopicError):
            old.read(0)
        broker.delete_topic("t")
        with pytest.raises(UnknownTopicError):
            reader.topic("t")


def test_a_reader_did_not_see_what_was_altered(tmp_path: Path) -> None:
    with filled(tmp_path, 50) as broker, Broker.open(tmp_path, read_only=True) as reader:
        assert reader.topic("t").partition(0).start_offset == 0
        broker.topic("t").alter(retention=RetentionConfig(max_records=10))
        broker.topic("t").add_partitions(3)
        assert reader.topic("t").partition(0).start_offset == 40
        assert reader.topic("t").partition_count == 3


def test_a_full_disk_kept_deletion_and_retention_from_freeing_it(tmp_path: Path) -> None:
    class Full(Files):
        full = False

        def open(self, path: str, *, write: bool = False, create: bool = False) -> int:
            if self.full and create and not os.path.exists(path):
                raise OSError(28, "No space left on device", path)
            return super().open(path, write=write, create=create)

        def remove(self, path: str) -> None:
            super().remove(path)
            self.full = False

    files = Full()
    with Broker(BrokerConfig(tmp_path), files) as broker:
        for name in ("a", "b"):
            broker.create_topic(name, segment_bytes=4096)
            for number in range(100):
                broker.producer().send(name, b"value %d" % number)
            broker.topic(name).alter(retention=RetentionConfig(max_records=9))
        files.full = True
        broker.apply_retention()  # or the background did
        assert len(glob.glob(f"{tmp_path}/topics/*/0/*.log")) == 2
        files.full = True
        broker.delete_topic("a")
        assert broker.topics() == ["b"]
        assert not glob.glob(f"{tmp_path}/topics/a*")
        assert broker.topic("b").partition(0).start_offset == 91


def test_a_commit_outlived_the_records_it_spoke_for(tmp_path: Path) -> None:
    files = CountingFiles()
    with Broker(BrokerConfig(tmp_path), files) as broker:
        broker.create_topic("t", durability="disk")
        broker.producer().send("t", b"1")
        consumer = broker.consumer("g", auto_commit=False)
        consumer.subscribe(["t"])
        assert consumer.poll()
        consumer.commit_sync()
        files.syncs = 0
        broker.producer().send("t", b"2")
        assert files.syncs == 0
        assert consumer.poll()
        consumer.commit_sync()
        assert files.syncs == 2  # the write-ahead log, then the offsets


def test_closing_a_producer_in_a_forked_child_hung(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        broker.create_topic("t")
        with broker._engine.exclusive():
            producer.send_nowait("t", b"on its way")
            child = os.fork()
            if not child:
                code = 1
                try:
                    producer.close()
                    broker.close()
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert producer.flush(10) == 0
        assert broker.topic("t").partition(0).read(0).value == b"on its way"


def test_a_topic_whose_creation_was_interrupted_at_its_end_could_not_be_made(
    tmp_path: Path,
) -> None:
    class Interrupted(Files):
        interrupt = False

        def sync_directory(self, path: str) -> None:
            super().sync_directory(path)
            if self.interrupt and path.endswith("topics"):
                self.interrupt = False
                raise KeyboardInterrupt

    files = Interrupted()
    with Broker(BrokerConfig(tmp_path), files) as broker:
        files.interrupt = True
        with pytest.raises(KeyboardInterrupt):
            broker.create_topic("t", partitions=3)
        assert broker.producer().send("t", b"x").offset == 0
        assert broker.topic("t").partition_count == 3


def test_the_wal_of_a_log_that_had_been_busy_stayed_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "IDLE_S", 0.01)
    with Broker.open(tmp_path) as broker:
        for _ in range(3):
            broker.producer().send_values("t", [b"x" * 1000] * 4000)
        deadline = time.monotonic() + 20
        while broker._engine.writer.wal.is_large:
            assert time.monotonic() < deadline
            broker._engine.arrivals.wait(broker._engine.arrivals.version, 0.01)
        assert broker.producer().send("t", b"y").offset == 12000
    with Broker.open(tmp_path) as broker:
        assert broker.topic("t").partition(0).verify().end_offset == 12001


def test_a_producer_of_a_closed_broker_did_not_say_which(tmp_path: Path) -> None:
    broker = Broker.open(tmp_path)
    producer = broker.producer()
    broker.close()
    with pytest.raises(ClosedError, match=tmp_path.name):
        producer.send("t", b"x")


@pytest.mark.parametrize("level", ["h00", "h04"])
def test_a_flipped_hash_of_a_retained_away_record_passed_verify(tmp_path: Path, level: str) -> None:
    with filled(tmp_path, 100) as broker:
        partition = broker.topic("t").partition(0)
        broker.topic("t").alter(retention=RetentionConfig(max_records=10))
        assert partition.compact() > 0
        assert partition.verify().end_offset == 100
    flip(f"{tmp_path}/topics/t/0/tree/{level}", 33)
    with (
        Broker.open(tmp_path) as broker,
        pytest.raises(CorruptionError, match="retained away"),
    ):
        broker.topic("t").partition(0).verify()


def test_salvage_behind_damage_believed_a_batch_that_the_next_contradicts(tmp_path: Path) -> None:
    with filled(tmp_path, 10) as broker:
        want = broker.topic("t").partition(0).read_range(0, 10)
    path = glob.glob(f"{tmp_path}/topics/t/0/*0.log")[0]
    size = 12 + int.from_bytes(Path(path).read_bytes()[8:12], "big")
    flip(path, 5 * size + 65)  # a record of batch 5
    flip(path, 6 * size + 7)  # the first offset of batch 6, which becomes 7
    with Broker.open(tmp_path, read_only=True) as broker:
        found = broker.topic("t").partition(0).salvage()
    assert found.records == [*want[:5], *want[7:]]


@pytest.mark.parametrize("read_only", [False, True])
def test_an_empty_partition_did_not_verify(tmp_path: Path, read_only: bool) -> None:
    """It has no segment yet, and looked as if it had lost it."""
    with Broker.open(tmp_path) as writer:
        writer.create_topic("t")
        with Broker.open(tmp_path, read_only=True) as reader:
            partition = (reader if read_only else writer).topic("t").partition(0)
            assert partition.verify().end_offset == 0
            assert partition.salvage().damage == []


def test_a_reader_found_a_lost_partition_sound(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as writer:
        writer.producer().send("t", b"v")
    shutil.rmtree(tmp_path / "topics/t/0")
    with (
        Broker.open(tmp_path, read_only=True) as reader,
        pytest.raises(CorruptionError, match="/t/0"),
    ):
        reader.topic("t").partition(0).verify()


def test_a_topic_whose_deletion_failed_was_gone_until_the_next_open(tmp_path: Path) -> None:
    class Refusing(Files):
        def rename(self, source: str, target: str) -> None:
            if ".deleted-" in target:
                raise OSError(28, "No space left on device", target)
            super().rename(source, target)

    files = Refusing()
    with Broker(BrokerConfig(tmp_path), files) as broker:
        broker.producer().send("t", b"first")
        with pytest.raises(OSError, match="No space"):
            broker.delete_topic("t")
        assert broker.topics() == ["t"]
        assert broker.topic("t").partition(0).read(0).value == b"first"
        assert broker.producer().send("t", b"second").offset == 1


def test_looking_at_topics_that_were_never_written_to_broke_the_next_write_of_two_brokers(
    tmp_path: Path,
) -> None:
    """Opening noted them as written to in the session, and did not say so to the others."""
    with Broker.open(tmp_path) as one:
        one.create_topic("t", partitions=4)
        with Broker.open(tmp_path) as other:
            assert [partition.end_offset for partition in other.topic("t").partitions()] == [0] * 4
            one.create_topic("v")
            assert other.producer().send("v", "x").offset == 0


def test_every_partition_that_was_read_kept_a_megabyte_even_of_closed_brokers(
    tmp_path: Path,
) -> None:
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", partitions=30)
        broker.producer().send_batch([ProducerRecord("t", b"v", partition=n) for n in range(30)])
    tracemalloc.start()
    gc.disable()
    try:
        for _ in range(2):
            with Broker.open(tmp_path, read_only=True) as broker:
                for partition in broker.topic("t").partitions():
                    assert len(partition.read_range(0, 1)) == 1
        size, _ = tracemalloc.get_traced_memory()
    finally:
        gc.enable()
        tracemalloc.stop()
    assert size < 10 << 20


def test_verifying_a_segment_that_was_cut_hung_and_salvage_found_nothing_lost(
    tmp_path: Path,
) -> None:
    with filled(tmp_path, 10) as broker:
        partition = broker.topic("t").partition(0)
        path = glob.glob(f"{tmp_path}/topics/t/0/*0.log")[0]
        os.truncate(path, 0)
        with pytest.raises(CorruptionError, match=r"\.log: at byte 0: the file ends here"):
            partition.verify()
        damage = partition.salvage().damage
        assert [str(one) for one in damage] == [
            f"{path}: at byte 0: the file is cut short: offsets 0 to 9 are missing"
        ]


def test_a_disk_that_was_gone_left_senders_waiting_and_tracebacks_of_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The background thread died each time it asked for the writer role, and was begun again."""

    def gone() -> bool:
        raise OSError(5, "Input/output error")

    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        producer.send("t", b"before")
        with monkeypatch.context() as patch:
            patch.setattr(broker._engine.turn, "take", gone)
            patch.setattr(broker._engine.turn, "try_take", lambda: False)
            with pytest.raises(OSError, match="Input/output"):
                producer.send("t", b"refused")
            with pytest.raises(OSError, match="Input/output"):
                producer.send_nowait("t", b"refused").result(20)
            with pytest.raises(OSError, match="Input/output"):
                broker.create_topic("u")
        assert producer.send("t", b"after").offset == 1


def test_a_copy_of_a_broker_that_was_dropped_closed_the_broker(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        with pytest.raises(TypeError, match="a Broker cannot be pickled or copied"):
            copy.copy(broker)
        gc.collect()
        assert broker.producer().send("t", b"x").offset == 0


def test_verifying_while_and_after_another_thread_closes_was_a_bad_file_descriptor(
    tmp_path: Path,
) -> None:
    """Whatever a close comes in between of, what is told is that the broker is closed."""
    calls: list[Callable[[Broker, Partition], object]] = [
        lambda _, partition: partition.verify(),
        lambda _, partition: partition.proof(0),
        lambda broker, _: broker.topic("t"),
        lambda broker, _: broker.topics(),
    ]
    for number, call in enumerate(calls * 3):
        broker = Broker.open(tmp_path / str(number), default_durability="disk")
        broker.producer().send("t", b"x")
        partition = broker.topic("t").partition(0)
        begun, told = threading.Event(), []

        def until_closed() -> None:
            while True:
                try:
                    call(broker, partition)  # noqa: B023 - joined below
                except Exception as error:
                    told.append(error)  # noqa: B023
                    return
                begun.set()  # noqa: B023

        thread = threading.Thread(target=until_closed)
        thread.start()
        assert begun.wait(20)
        broker.close()
        thread.join(20)
        assert [type(error) for error in told] == [ClosedError]


def test_producers_and_deliveries_did_not_say_what_they_are(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        delivery = producer.send_nowait("t", b"x")
        assert repr(delivery) in ("<Delivery to t/0, on its way>", "<Delivery to t/0, durable>")
        delivery.result(20)
        assert repr(delivery) == "<Delivery to t/0, durable>"
        assert repr(producer) == f"<Producer of <Broker of {tmp_path}>>"
        producer.close()
        assert repr(producer) == f"<Producer of <Broker of {tmp_path}>, closed>"


def test_an_erasure_brought_records_back_that_a_limit_of_bytes_had_hidden(tmp_path: Path) -> None:
    """Batches shrink as their records go, so more of them fitted; and who had looked before saw
    another start than who had not."""
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", erasable=True, retention=RetentionConfig(max_bytes=2500))
        for _ in range(4):
            broker.producer().send("t", b"v" * 1000)
        partition = broker.topic("t").partition(0)
        assert partition.start_offset == 2
        assert partition.erase(3) == [3]
        assert partition.start_offset == 2
        with Broker.open(tmp_path, read_only=True) as reader:
            assert reader.topic("t").partition(0).start_offset == 2
    with Broker.open(tmp_path) as broker:
        assert broker.topic("t").partition(0).start_offset == 2
