"""Bugs met on full, failing and damaged disks, or as syncs too many, named after what one saw."""

from __future__ import annotations

import errno
import fcntl
import gc
import logging
import os
import shutil
import time
from pathlib import Path

import pytest

from merkql import (
    Broker,
    BrokerConfig,
    CorruptionError,
    ProducerRecord,
    RetentionConfig,
)
from merkql.storage.files import Files

DEADLINE_S = 10.0  # no test waits that long unless it fails


def test_closing_a_broker_whose_directory_was_removed_closed_a_file_of_the_users(
    tmp_path: Path,
) -> None:
    """What had the writer role's file closed it, could not open the new one, and closed it again,
    when another file had the number."""
    directory = tmp_path / "log"
    broker = Broker.open(directory)
    broker.producer().send("t", b"1")
    shutil.rmtree(directory)
    broker._engine.turn.role.give()
    broker._engine.turn.role._looked_at = 0.0  # so that it looks whether its file is in its place
    with pytest.raises(OSError, match="No such file"):
        broker.create_topic("n")
    mine = [(tmp_path / f"mine{number}").open("w") for number in range(30)]
    try:
        with pytest.raises(OSError, match="No such file"):
            broker.close()
        for file in mine:
            os.fstat(file.fileno())
            file.write("x")
            file.flush()
    finally:
        for file in mine:
            file.close()


class FullDisk(Files):
    """Refuses to write to the log once it is full."""

    def __init__(self) -> None:
        self.is_full = False

    def write_parts(self, descriptor: int, parts: object, position: int) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write_parts(descriptor, parts, position)  # type: ignore[arg-type]


def test_records_of_send_nowait_were_lost_on_a_full_disk_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = FullDisk()
    with Broker(BrokerConfig(tmp_path), files) as broker:
        broker.producer().send("t", b"1")
        files.is_full = True
        with broker.producer() as producer:
            deliveries = [producer.send_nowait("t", b"x") for _ in range(100)]
            assert producer.flush() == 0
            for _ in range(2):  # to ask twice about one is to ask about one
                for delivery in deliveries[:40]:
                    with pytest.raises(OSError, match="No space"):
                        delivery.result()
            assert not caplog.records  # the others may still be asked
        (warned,) = caplog.records
        assert "60 of the records given to send_nowait were refused" in warned.getMessage()
        assert "No space left on device" in warned.getMessage()
        caplog.clear()

        dropped = broker.producer()
        dropped.send_nowait("t", b"x")
        dropped.flush()
        del dropped
        deadline = time.monotonic() + 30  # the background thread may hold it a moment longer
        while not caplog.records and time.monotonic() < deadline:
            gc.collect()
        (warned,) = caplog.records
        assert warned.getMessage().startswith("1 of the records")
        caplog.clear()

        with broker.producer() as producer, pytest.raises(OSError, match="No space"):
            producer.send_nowait("t", b"x").result()
        assert not caplog.records
        files.is_full = False
        assert broker.topic("t").partition(0).end_offset == 1


@pytest.mark.parametrize(
    ("code", "way_out"),
    [
        (errno.ENOSPC, "free space, or keep less"),
        (errno.EDQUOT, "free space within the quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EIO, "open the directory again"),
    ],
)
@pytest.mark.parametrize("call", ["pwritev", "fdatasync"])
def test_a_full_or_failing_disk_named_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, way_out: str, call: str
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    if call == "fdatasync" and hasattr(fcntl, "F_FULLFSYNC"):
        pytest.skip("this system syncs by another call")
    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        producer.send("t", b"1")
        with monkeypatch.context() as patched, pytest.raises(OSError) as raised:
            patched.setattr(os, call, refuse)
            producer.send("t", bytes(20 << 10))  # a frame in parts
        error = raised.value
        assert (error.errno, Path(error.filename).parent) == (code, tmp_path.resolve() / "wal")
        assert str(error).count(way_out) == 1
        assert os.strerror(code) in str(error)


def test_an_error_of_a_path_kept_its_class_and_both_names(tmp_path: Path) -> None:
    files = Files()
    with pytest.raises(FileNotFoundError) as raised:
        files.rename(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (raised.value.filename, raised.value.filename2) == (
        str(tmp_path / "a"),
        str(tmp_path / "b"),
    )


class CountingFiles(Files):
    """Counts what changes the disk."""

    def __init__(self) -> None:
        self.syncs: list[int] = []

    def sync(self, descriptor: int) -> None:
        self.syncs.append(descriptor)
        super().sync(descriptor)


def test_a_session_that_only_read_synced_every_partition_when_it_closed(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", partitions=20)
        broker.producer().send_batch([ProducerRecord("t", b"v", partition=n) for n in range(20)])
    before = {path: path.read_bytes() for path in tmp_path.glob("topics/t/*/*") if path.is_file()}
    files = CountingFiles()
    with Broker(BrokerConfig(tmp_path), files) as broker:
        for partition in broker.topic("t").partitions():
            assert partition.read(0).value == b"v"
    assert files.syncs == []
    after = {path: path.read_bytes() for path in tmp_path.glob("topics/t/*/*") if path.is_file()}
    assert after == before
    with Broker(BrokerConfig(tmp_path), files) as broker:
        for partition in broker.topic("t").partitions():
            partition.read(0)
        broker.producer().send("t", b"w", partition=3)
    assert len(files.syncs) < 20
    with Broker.open(tmp_path) as broker:
        assert broker.topic("t").partition(3).verify().end_offset == 2


def test_an_index_made_again_in_a_session_that_only_read_is_synced_when_it_closes(
    tmp_path: Path,
) -> None:
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t")
        for number in range(3):
            broker.producer().send("t", b"%d" % number)
    (index,) = tmp_path.glob("topics/t/0/*.index")
    sound = index.read_bytes()
    index.write_bytes(bytes(len(sound)))
    files = CountingFiles()
    with Broker(BrokerConfig(tmp_path), files) as broker:
        assert broker.topic("t").partition(0).read_range(0, 3)[2].value == b"2"
        assert index.read_bytes() == sound
    assert files.syncs


def test_each_root_that_met_damage_beyond_repair_made_the_tree_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The leaf of a record that is gone cannot be: once tried, no lock is taken for it again."""
    with Broker.open(tmp_path, default_durability="disk") as broker:
        broker.create_topic(
            "t", segment_bytes=8192, retention=RetentionConfig(max_records=30), partitions=1
        )
        producer = broker.producer()
        for number in range(200):
            producer.send("t", b"%03d" % number * 30)
        broker.topic("t").partition(0).compact()
    leaves = tmp_path / "topics/t/0/tree/h00"
    content = bytearray(leaves.read_bytes())
    content[40] ^= 1
    leaves.write_bytes(content)
    caplog.set_level(logging.WARNING)
    with Broker.open(tmp_path) as broker:
        partition = broker.topic("t").partition(0)
        errors = 0
        for size in range(1, 201):
            try:
                partition.root(size)
            except CorruptionError:
                errors += 1
        told = [one for one in caplog.records if "rebuilding" in one.getMessage()]
        assert errors > 3 * len(told) > 0
        assert len(told) < 5
        assert producer_goes_on(broker)


def producer_goes_on(broker: Broker) -> bool:
    return broker.producer().send("t", b"x").offset == 200
