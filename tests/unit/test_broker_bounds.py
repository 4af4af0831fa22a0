"""What a broker may use: descriptors, threads, memory, disk."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from merkql import Broker, ProducerRecord, RetentionConfig
from support import children

MANY_TOPICS = """
import resource, sys
limit, count = map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
from merkql import Broker, ProducerRecord
names = [f"topic-{i}" for i in range(count)]
with Broker.open(sys.argv[1], default_durability="disk") as broker:
    for name in names:
        broker.create_topic(name)
    producer = broker.producer()
    for turn in range(2):
        producer.send_batch([ProducerRecord(name, f"{name}/{turn}") for name in names])
    for name in names:
        producer.send(name, f"{name}/2")
with Broker.open(sys.argv[1]) as broker:
    assert len(broker.topics()) == count
    with broker.consumer("g") as consumer:
        consumer.subscribe(names)
        seen = []
        while some := consumer.poll():
            seen += [(record.topic, record.value.decode()) for record in some]
    wanted = [(name, f"{name}/{turn}") for name in names for turn in range(3)]
    assert sorted(seen) == sorted(wanted), len(seen)
    for name in names[::50]:
        partition = broker.topic(name).partition(0)
        assert partition.proof(1).verify(partition.read(1), partition.root())
print("held")
"""

FLAT = """
import resource, sys
from merkql import Broker

def resident_mib():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

total, value = int(sys.argv[2]) << 20, bytes(range(256)) * 4
with Broker.open(sys.argv[1], default_durability="disk") as broker:
    broker.create_topic("t", partitions=2)
    producer = broker.producer()
    producer.send_values("t", [value] * 10)
    before = resident_mib()
    for number in range(total // (len(value) * 4000)):
        producer.send_values("t", [value] * 4000)
    written = sum(p.end_offset for p in broker.topic("t").partitions())
    read = 0
    with broker.consumer("g") as consumer:
        consumer.subscribe(["t"])
        while some := consumer.poll():
            read += len(some)
            del some
    assert read == written, (read, written)
    print(resident_mib() - before)
"""


def test_more_topics_than_descriptors(tmp_path: Path) -> None:
    assert children.run(MANY_TOPICS, tmp_path, 64, 80) == "held\n"


@pytest.mark.slow
def test_a_thousand_topics_under_256_descriptors(tmp_path: Path) -> None:
    assert children.run(MANY_TOPICS, tmp_path, 256, 1000) == "held\n"


def flat(tmp_path: Path, mebibytes: int) -> float:
    return float(children.run(FLAT, tmp_path, mebibytes, timeout=1200))


@pytest.mark.slow
def test_memory_is_flat_while_300_mib_go_in_and_out(tmp_path: Path) -> None:
    assert flat(tmp_path, 300) <= 100


@pytest.mark.exhaustive
def test_memory_is_flat_while_5_gib_go_in_and_out(tmp_path: Path) -> None:
    assert flat(tmp_path, 5 << 10) <= 100


def test_threads_are_listed_and_gone_after_close(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    broker = Broker.open(tmp_path, default_retention=RetentionConfig(max_records=5))
    producer = broker.producer()
    for _ in range(100):
        producer.send_nowait("t", b"x" * 3000)
    producer.flush()
    with broker.consumer("g") as consumer:
        consumer.subscribe(["t"])
        consumer.poll()
    ours = set(threading.enumerate()) - before
    assert ours
    assert ours == set(broker.threads)
    assert all(thread.name.startswith("merkql-") for thread in ours)
    broker.close()
    assert not broker.threads
    assert set(threading.enumerate()) == before


def test_a_broker_that_only_sends_has_no_thread(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        for _ in range(3):
            broker.producer().send("t", b"x")
        assert not broker.threads


def test_descriptors_are_gone_after_close(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with Broker.open(tmp_path, default_partitions=4) as broker:
        broker.producer().send_batch([ProducerRecord("t", b"x") for _ in range(100)])
        with broker.consumer("g") as consumer:
            consumer.subscribe(["t"])
            consumer.poll()
    assert set(os.listdir("/proc/self/fd")) == before


def size_on_disk(root: Path) -> int:
    paths = [root, *root.rglob("*")]
    by_blocks = sum(path.stat().st_blocks * 512 for path in paths)
    by_length = sum(path.stat().st_size for path in paths if path.is_file())
    return max(by_blocks, by_length)


@pytest.mark.parametrize("close", [True, False], ids=["closed", "open"])
@pytest.mark.parametrize("one_by_one", [True, False], ids=["sends", "batch"])
def test_a_thousand_small_records_take_a_mebibyte_at_most(
    tmp_path: Path, one_by_one: bool, close: bool
) -> None:
    with Broker.open(tmp_path) as broker:
        producer = broker.producer()
        values = [b"small record %d" % i for i in range(1000)]
        if one_by_one:
            for value in values:
                producer.send("t", value)
        else:
            producer.send_values("t", values)
        if not close:
            assert size_on_disk(tmp_path) <= 1 << 20
    assert size_on_disk(tmp_path) <= 1 << 20


def test_files_belong_to_nobody_else(tmp_path: Path) -> None:
    """Not readable by others, not inherited by child processes."""
    with Broker.open(tmp_path / "data") as broker:
        broker.producer().send("t", b"secret")
        paths = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
        assert all(path.stat().st_mode & 0o077 == 0 for path in paths)
        ours = [
            int(name)
            for name in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{name}")
            and os.readlink(f"/proc/self/fd/{name}").startswith(str(tmp_path))
        ]
        assert ours
        assert not any(os.get_inheritable(descriptor) for descriptor in ours)


def test_a_temporary_broker_leaves_nothing() -> None:
    broker = Broker.temporary()
    directory = Path(broker._directory)
    broker.producer().send("t", b"x")
    assert directory.exists()
    broker.close()
    assert not directory.exists()


def test_a_dropped_broker_loses_nothing_and_frees_the_directory(tmp_path: Path) -> None:
    broker = Broker.open(tmp_path)
    broker.producer().send("t", b"x")
    with pytest.warns(ResourceWarning, match="was not closed; close it") as told:
        del broker
    assert str(tmp_path) in str(told[0].message)
    with Broker.open(tmp_path) as again:
        assert again.topic("t").partition(0).read(0).value == b"x"


UNCLOSED = """
import sys, warnings
from merkql import Broker

warnings.simplefilter("always")
warnings.showwarning = lambda text, kind, *_: print(kind.__name__, text)
broker = Broker.open(sys.argv[1])
broker.create_topic("t")
busy = broker._engine.exclusive()
busy.__enter__()
producer = broker.producer()
kept = [producer.send_nowait("t", b"x") for _ in range(3)]
"""


def test_a_program_that_ends_with_queued_records_is_told(tmp_path: Path) -> None:
    output = children.run(UNCLOSED, tmp_path)
    assert output.startswith(f"ResourceWarning the broker of {tmp_path} was not closed")
    assert "with 3 records of send_nowait on their way" in output
