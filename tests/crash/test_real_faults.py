"""Faults that are real: small disks, limits of the process, memory that runs out, a disk that goes.

Goal: nothing acknowledged is lost, errors are clear, and what can heal heals. Those that need root
mount images, and are skipped elsewhere with the reason.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from merkql import Broker, MerkqlError, RetentionConfig, WriterFailedError
from merkql.storage.maintenance import Maintenance
from soak import power_cuts
from support import children

SMALL = 8 << 20


def mounted(kind: str, size: int) -> contextlib.AbstractContextManager[power_cuts.Disk]:
    reason = power_cuts.why_not(kind)
    if reason:
        pytest.skip(reason)
    return power_cuts.mounted_image(kind, size)


def fill(broker: Broker, topic: str, size: int = 20_000) -> list[int]:
    """Send until the disk is full; the offsets that were acknowledged."""
    offsets = []
    producer = broker.producer()
    with pytest.raises(OSError) as caught:
        for _ in range(10_000):
            offsets.append(producer.send(topic, bytes(size)).offset)
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    return offsets


def test_a_full_disk_heals_when_retention_frees_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Maintenance, "watch_retention", lambda self: None)
    with mounted("ext4", SMALL) as disk:
        root = disk.mount_point / "data"
        with Broker.open(root) as broker:
            limits = RetentionConfig(max_records=20)
            broker.create_topic("t", segment_bytes=256 << 10, retention=limits)
            broker.create_topic("other")
            broker.producer().send("other", b"before")
            acknowledged = fill(broker, "t")
            partition = broker.topic("t").partition(0)
            assert partition.end_offset == len(acknowledged) > 50
            start = partition.start_offset
            assert len(partition.read_range(start, len(acknowledged))) == 20
            with broker.consumer("g", auto_commit=False) as consumer:
                consumer.assign([("t", 0)])
                with contextlib.suppress(OSError):  # a new group's file needs a block
                    consumer.commit_sync({("t", 0): 5})
            assert broker.apply_retention() > 0
            assert broker.producer().send("other", b"after").offset == 1
            assert broker.producer().send("t", b"after").offset == len(acknowledged)
            partition.verify()
        with Broker.open(root) as broker:
            assert broker.topic("t").partition(0).end_offset == len(acknowledged) + 1
            assert broker.topic("other").partition(0).read(1).value == b"after"


def test_a_full_disk_heals_when_a_topic_is_deleted() -> None:
    with mounted("ext4", SMALL) as disk, Broker.open(disk.mount_point / "data") as broker:
        broker.create_topic("other")
        fill(broker, "t")
        broker.delete_topic("t")
        assert broker.producer().send("other", b"after").offset == 0


def leave_no_block(place: Path) -> None:
    """Of anybody's: what comes next has only what is freed."""
    with (place / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("limits", [{"max_records": 20}, {"max_bytes": 400_000}], ids=str)
def test_retention_needs_no_block_of_a_disk_without_one(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    monkeypatch.setattr(Maintenance, "watch_retention", lambda self: None)
    with mounted("ext4", SMALL) as disk:
        root = disk.mount_point / "data"
        with Broker.open(root) as broker:
            retention = RetentionConfig(**limits)
            broker.create_topic("t", segment_bytes=256 << 10, retention=retention)
            acknowledged = fill(broker, "t")
            leave_no_block(disk.mount_point)
            start = broker.topic("t").partition(0).start_offset
            assert broker.apply_retention() > 0
            assert broker.producer().send("t", b"after").offset == len(acknowledged)
        with Broker.open(root) as broker:
            partition = broker.topic("t").partition(0)
            assert partition.start_offset >= start > 0
            assert partition.read(len(acknowledged)).value == b"after"
            partition.verify()


def test_a_deletion_needs_no_block_of_a_disk_without_one() -> None:
    with mounted("ext4", SMALL) as disk:
        root = disk.mount_point / "data"
        with Broker.open(root) as broker:
            broker.create_topic("other")
            fill(broker, "t")
            leave_no_block(disk.mount_point)
            broker.delete_topic("t")
            assert broker.producer().send("other", b"after").offset == 0
        with Broker.open(root) as broker:
            assert broker.topics() == ["other"]
            assert broker.topic("other").partition(0).read(0).value == b"after"


def test_a_disk_that_turns_read_only_is_said_and_reading_goes_on() -> None:
    with mounted("ext4", SMALL) as disk:
        root = disk.mount_point / "data"
        with Broker.open(root) as broker:
            broker.producer().send("t", b"kept")
        remount = ["mount", "-o", "remount,ro", str(disk.mount_point)]
        subprocess.run(remount, check=True)
        with pytest.raises(OSError, match="Read-only file system: the directory cannot be written"):
            Broker.open(root)
        with Broker.open(root, read_only=True) as reader:
            assert reader.topic("t").partition(0).read(0).value == b"kept"
        remount[2] = "remount,rw"
        subprocess.run(remount, check=True)
        with Broker.open(root) as broker:
            assert broker.producer().send("t", b"more").offset == 1


def test_a_disk_that_is_gone_poisons_the_writer_and_loses_nothing() -> None:
    """EIO from the file system itself, then a restart."""
    with mounted("ext4", SMALL) as disk:
        root = disk.mount_point / "data"
        broker = Broker.open(root)
        producer = broker.producer()
        for _ in range(5):
            producer.send("t", b"acknowledged")
        disk.cut_power()
        with pytest.raises(OSError):
            producer.send("t", b"lost, perhaps")
        with pytest.raises((OSError, MerkqlError)):
            producer.send("t", b"refused")
        assert broker.topic("t").partition(0).end_offset == 5
        with contextlib.suppress(OSError, MerkqlError):
            broker.close()
        del broker, producer
        disk.unmount()
        disk.mount()
        with Broker.open(root) as again:
            assert again.topic("t").partition(0).end_offset in (5, 6)
            assert again.producer().send("t", b"more").offset in (5, 6)


@contextlib.contextmanager
def limited(what: int, value: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))


def test_a_limit_of_file_size_is_an_error_and_heals(tmp_path: Path) -> None:
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with Broker.open(tmp_path) as broker:
            broker.producer().send("t", b"first")
            with limited(resource.RLIMIT_FSIZE, 1 << 20):
                acknowledged = fill(broker, "t", 50_000)
            assert broker.topic("t").partition(0).end_offset == len(acknowledged) + 1
            assert broker.producer().send("t", b"after").offset == len(acknowledged) + 1
            broker.topic("t").partition(0).verify()
    finally:
        signal.signal(signal.SIGXFSZ, ignored)


def _take_all_descriptors(but: int) -> list[int]:
    held = []
    with contextlib.suppress(OSError):
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    for descriptor in held[:but]:
        os.close(descriptor)
    return held[but:]


def test_no_descriptor_left_is_an_error_and_heals(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", segment_bytes=4096)
        producer = broker.producer()
        producer.send("t", b"first")
        failed = 0
        with limited(resource.RLIMIT_NOFILE, max(map(int, os.listdir("/proc/self/fd"))) + 4):
            for spare in range(6):
                held = _take_all_descriptors(but=spare)
                for number in range(8):
                    try:
                        producer.send(f"new-{spare}-{number % 2}", bytes(3000))
                    except OSError as error:
                        failed += error.errno in (errno.EMFILE, errno.ENFILE)
                for descriptor in held:
                    os.close(descriptor)
        assert failed
        end = broker.topic("t").partition(0).end_offset
        assert producer.send("t", b"after").offset == end
        for name in broker.topics():
            broker.topic(name).partition(0).verify()


NO_MEMORY = """
import json, sys
import _testcapi
from merkql import Broker, WriterFailedError

root, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
broker = Broker.open(root)
producer = broker.producer()
sent, failed = [], 0
producer.send("t", b"first")
for number in range(first, last):
    value = b"%d" % number
    try:
        _testcapi.set_nomemory(number, number + 1)
        try:
            metadata = producer.send("t", value)
        finally:
            _testcapi.remove_mem_hooks()
    except MemoryError:
        failed += 1
    except RuntimeError as error:
        assert "can't allocate lock" in str(error)  # what threading.Lock says for MemoryError
        failed += 1
    except SystemError as error:  # frame.f_back of CPython sets MemoryError and returns None
        assert isinstance(error.__cause__, MemoryError)
        failed += 1
    except WriterFailedError:  # it ran out between the WAL and the segment
        failed += 1
        broker.close()
        broker = Broker.open(root)
        producer = broker.producer()
    except Exception as error:
        print(json.dumps(f"{number}: {error!r}"))
        sys.exit(1)
    else:
        sent.append((metadata.offset, number))
try:
    producer.send("t", b"last")
except WriterFailedError:
    broker.close()
    broker = Broker.open(root)
    broker.producer().send("t", b"last")
partition = broker.topic("t").partition(0)
records = {r.offset: r.value for r in partition.read_range(0, partition.end_offset)}
for offset, number in sent:
    assert records[offset] == b"%d" % number
partition.verify()
broker.close()
print(json.dumps(failed))
"""


def test_every_allocation_of_a_send_fails_once(tmp_path: Path) -> None:
    pytest.importorskip("_testcapi")
    failed = children.run(NO_MEMORY, tmp_path, 0, 150, timeout=60)
    assert int(failed) > 10
    with Broker.open(tmp_path) as broker:
        broker.topic("t").partition(0).verify()


def test_the_clock_jumps_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    jumps = (0, -(10**18), 10**18, -now, 0)
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", retention=RetentionConfig(max_records=1000))
        producer = broker.producer()
        for number, jump in enumerate(jumps):
            monkeypatch.setattr(time, "time_ns", lambda jump=jump: now + jump)
            monkeypatch.setattr(time, "time", lambda jump=jump: (now + jump) / 1e9)
            assert producer.send("t", b"%d" % number).offset == number
            broker.apply_retention()
        partition = broker.topic("t").partition(0)
        assert [r.value for r in partition.read_range(0, len(jumps))] == [
            b"%d" % number for number in range(len(jumps))
        ]
        partition.verify()


LEAVING = """
import os, sys, threading
from merkql import Broker

broker = Broker.open(sys.argv[1])
broker.create_topic("t")
producer = broker.producer()
def work():
    number = 0
    while True:
        offset = producer.send("t", b"%d" % number).offset
        os.write(1, b"%d %d\\n" % (offset, number))
        number += 1
for _ in range(3):
    threading.Thread(target=work, daemon=sys.argv[2] == "daemon").start()
consumer = broker.consumer("g")
consumer.subscribe(["t"])
threading.Thread(target=lambda: [consumer.poll(1) for _ in range(10**6)], daemon=True).start()
while broker.topic("t").partition(0).end_offset < 50:
    pass
sys.exit(0)
"""


def test_the_interpreter_leaves_with_threads_inside(tmp_path: Path) -> None:
    for turn in range(3):
        output = children.run(LEAVING, tmp_path / str(turn), "daemon", timeout=60)
        found = [re.fullmatch(r"(\d+) \d+", line) for line in output.splitlines()]
        with Broker.open(tmp_path / str(turn)) as broker:
            partition = broker.topic("t").partition(0)
            assert partition.end_offset > max(int(one[1]) for one in found if one)
            partition.verify()


def test_a_failed_writer_says_so_in_every_call(tmp_path: Path) -> None:
    """With a disk that is gone for good: no call hangs, none succeeds, closing ends."""
    with mounted("ext4", SMALL) as disk:
        broker = Broker.open(disk.mount_point / "data")
        producer = broker.producer()
        producer.send("t", b"x")
        disk.cut_power()
        for call in (
            lambda: producer.send("t", b"x"),
            lambda: broker.create_topic("u"),
            lambda: broker.delete_topic("t"),
            lambda: broker.topic("t").add_partitions(3),
            lambda: producer.send_nowait("t", b"x").result(10),
        ):
            with pytest.raises((OSError, WriterFailedError)):
                call()
        with contextlib.suppress(OSError, MerkqlError):
            broker.close()
