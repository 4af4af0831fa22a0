"""Processes that only read: they change no byte outside groups/, and no writer harms them."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from merkql import Broker, RetentionConfig
from support import children

ROUNDS = 40

# Every call that reads, whatever it says of damage.
EVERYTHING = """
import sys
from merkql import Broker, CorruptionError

def tried(call, *arguments):
    try:
        return call(*arguments)
    except CorruptionError as damage:
        return damage

with Broker.open(sys.argv[1], read_only=True) as broker:
    count = 0
    for name in broker.topics():
        for partition in broker.topic(name).partitions():
            first, end = tried(lambda: partition.start_offset), partition.end_offset
            for offset in range(first, end, 50):
                tried(partition.read, offset)
                tried(partition.proof, offset)
            tried(partition.read_range, first, end)
            tried(partition.root)
            tried(partition.consistency_proof, 1)
            tried(partition.find, bytes(32))
            tried(partition.offset_for_timestamp, 0)
            tried(partition.verify)
            count += len(partition.salvage().records)
    with broker.consumer("readers") as consumer:
        consumer.subscribe(broker.topics())
        for _ in range(20):
            tried(consumer.poll)
        tried(consumer.commit_sync)
    assert broker.groups() == ["readers"]
    print(count)
"""

# Consumes, and reads at random and proves what it read, until it is told to stop.
FOLLOWER = """
import random, re, sys, threading
from merkql import (
    Broker, OffsetOutOfRangeError, StaleGenerationError, UnknownPartitionError, UnknownTopicError
)

GONE = (OffsetOutOfRangeError, UnknownTopicError, UnknownPartitionError)
chance = random.Random(int(sys.argv[2]))
handed, proved, gaps = 0, 0, []
expected = {}

def check(record):
    topic, life, partition, offset = record.value.decode().split("/")
    assert (topic, int(partition), int(offset)) == (record.topic, record.partition, record.offset)
    return int(life)

def gap(partition, first, following):
    assert first < following, (partition, first, following)
    gaps.append(partition)
    expected[partition] = (expected.get(partition, (0,))[0], following)

with Broker.open(sys.argv[1], read_only=True) as broker:
    consumer = broker.consumer(f"g{sys.argv[2]}", on_gap=gap)
    consumer.subscribe(re.compile(".*"))
    ended = threading.Event()
    def listen():
        sys.stdin.readline()
        ended.set()
        consumer.wakeup()
    threading.Thread(target=listen).start()
    print("ready", flush=True)
    while not ended.is_set():
        for record in consumer.poll(timeout=0.05, max_records=100):
            life, place = check(record), (record.topic, record.partition)
            known = expected.get(place, (0, 0))
            assert life >= known[0], "a record of a topic that was deleted"
            if life == known[0] and place in expected:
                assert record.offset == known[1], f"{record.offset} after {known}"
            expected[place] = (life, record.offset + 1)
            handed += 1
        for name in broker.topics():
            try:
                partition = chance.choice(broker.topic(name).partitions())
                start, end = partition.start_offset, partition.end_offset
                if start == end:
                    continue
                record = partition.read(chance.randrange(start, end))
                check(record)
                proof = partition.proof(record.offset)
                assert proof.verify(record)
                proved += 1
            except GONE:
                pass
    consumer.close()
print(handed, proved, len(gaps))
"""


def fill(root: Path) -> None:
    with Broker.open(root) as broker:
        for name, options in {
            "plain": {"partitions": 2, "segment_bytes": 8192},
            "packed": {"compression": "lz4", "erasable": True},
            "short": {"segment_bytes": 4096, "retention": RetentionConfig(max_records=150)},
        }.items():
            topic = broker.create_topic(name, **options)
            producer = broker.producer()
            for _ in range(6):
                producer.send_values(name, [bytes(range(60))] * 100)
            broker.apply_retention()
            assert topic.partition(0).end_offset > 0


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything that can be seen of each file and directory but those of groups."""
    seen: dict[str, tuple[object, ...]] = {}
    for directory, folders, files in os.walk(root):
        if Path(directory) == root:
            folders.remove("groups")
        for name in ["", *files]:
            path = Path(directory, name)
            status = path.stat()
            content = b"" if path.is_dir() else hashlib.sha256(path.read_bytes()).digest()
            seen[str(path)] = (status.st_ino, status.st_size, status.st_mtime_ns, content)
    del seen[str(root)]  # where groups/ stands
    return seen


def as_it_was_closed(_: Path) -> None:
    """Nothing is wrong."""


def without_what_is_derived(root: Path) -> None:
    for path in [*root.glob("topics/*/*/*.index"), *root.glob("topics/*/*/tail")]:
        path.unlink()
    (root / "clean").unlink()
    (root / "topics/plain/0/tree/h00").write_bytes(b"")


def with_damage(root: Path) -> None:
    for path in sorted(root.glob("topics/plain/*/*.log"))[::3]:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    for path in root.glob("topics/*/0/tree/h04"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize("change", [as_it_was_closed, without_what_is_derived, with_damage])
def test_readers_change_no_byte_outside_groups(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    fill(tmp_path)
    change(tmp_path)
    before = snapshot(tmp_path)
    assert int(children.run(EVERYTHING, tmp_path)) > 100
    assert snapshot(tmp_path) == before


class Upheaval:
    """A writer that rolls, retains, compacts, deletes, creates anew and adds partitions."""

    def __init__(self, broker: Broker, chance: random.Random) -> None:
        self.broker = broker
        self.producer = broker.producer()
        self.chance = chance
        self.lives = {"steady": 0, "brief": 0}
        self.make("steady")
        self.make("brief")

    def make(self, name: str) -> None:
        self.lives[name] += 1
        self.broker.create_topic(
            name, partitions=2, segment_bytes=4096, retention=RetentionConfig(max_records=120)
        )

    def send(self) -> None:
        for name, life in self.lives.items():
            for partition in self.broker.topic(name).partitions():
                end, count = partition.end_offset, self.chance.randint(1, 40)
                values = [
                    f"{name}/{life}/{partition.index}/{offset}"
                    for offset in range(end, end + count)
                ]
                self.producer.send_values(name, values, partition=partition.index)

    def change(self, number: int) -> None:
        steady = self.broker.topic("steady")
        if number % 3 == 0:
            self.broker.apply_retention()
        if number % 4 == 1:
            self.chance.choice(steady.partitions()).compact()
        if number % 10 == 5:
            self.broker.delete_topic("brief")
            self.make("brief")
        if number % 25 == 20:
            steady.add_partitions(steady.partition_count + 1)


def told(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate("stop\n", timeout=60)
    assert process.returncode == 0, output
    return output


def test_readers_are_not_harmed_by_what_the_writer_does(tmp_path: Path) -> None:
    rounds = int(os.environ.get("SOAK_TURNS", ROUNDS))
    chance = random.Random(int(os.environ.get("SOAK_SEED", "1")))
    with Broker.open(tmp_path / "data") as broker:
        upheaval = Upheaval(broker, chance)
        readers = [children.start(FOLLOWER, tmp_path / "data", number) for number in range(3)]
        try:
            for reader in readers:
                assert reader.stdout is not None
                assert reader.stdout.readline() == "ready\n"
            for number in range(rounds):
                upheaval.send()
                upheaval.change(number)
            for reader in readers:
                handed, proved, gaps = map(int, told(reader).split())
                print(f"{handed} records handed out, {proved} proved, {gaps} gaps")
                assert handed > rounds
                assert proved > 0
        finally:
            for reader in readers:
                reader.kill()
                with reader:
                    pass
