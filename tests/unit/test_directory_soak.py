"""Four writers, twenty followers, eight group members on one directory; each second one is killed.

And each five seconds a member is stopped until the next is, wherever it is: with the group's lock,
perhaps.

Each process writes down what it was told, as soon as it was: a writer where its records went, a
follower what it read, a member what it was handed. What they wrote together is judged in the end
against the log: nothing acknowledged is lost, nothing that was seen is another thing later, and no
partition was handed to two members of one generation.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from merkql import Broker
from support import children
from unit.test_group_soak import DEADLINE_S, MEMBER, PARTITIONS, Crowd, check_notes

WRITERS = 4
FOLLOWERS = 20
MEMBERS = 8
TURNS = 30
TURN_S = 1.0
STOP_EVERY = 5  # turns: a member is stopped, and goes on at the next such turn
PAUSE_S = 0.005  # of a writer between two sends: the machine has others to serve
PREFIX_EVERY = 50  # records a follower reads between two notes

WRITER = """
import os, random, signal, sys, threading
from merkql import Broker

stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
print("ready", flush=True)
log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
name, partitions, pause = os.path.basename(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
count = 0
with Broker.open(sys.argv[1]) as broker:
    producer = broker.producer()
    while not stopped.wait(pause):
        partition = random.randrange(partitions)
        values = [b"%s/%d" % (name.encode(), count + n) for n in range(random.choice((1, 1, 20)))]
        count += len(values)
        first = producer.send_values("orders", values, partition=partition)[0]
        lines = [b"%d %d %s\\n" % (partition, first + n, value) for n, value in enumerate(values)]
        os.write(log, b"".join(lines))
"""
FOLLOWER = """
import hashlib, os, signal, sys
from merkql import Broker

stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
print("ready", flush=True)
log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
places = [("orders", number) for number in range(int(sys.argv[3]))]
read = {number: (0, hashlib.sha256()) for _, number in places}
with Broker.open(sys.argv[1], read_only=True) as broker:
    consumer = broker.consumer("follower", auto_commit=False)
    consumer.assign(places)
    for place in places:
        consumer.seek(place, 0)
    while not stopped:
        for record in consumer.poll(timeout=0.2):
            count, digest = read[record.partition]
            assert record.offset == count, (record.partition, record.offset, count)
            digest.update(record.value + b"\\n")
            read[record.partition] = count + 1, digest
            if not (count + 1) % int(sys.argv[4]):
                line = b"%d %d %s\\n" % (record.partition, count + 1, digest.hexdigest().encode())
                os.write(log, line)
"""


class Hands:
    """Processes of one kind, and what each of them wrote down."""

    def __init__(self, data: Path, notes: Path, program: str, *options: object) -> None:
        notes.mkdir()
        self.data = data
        self.notes = notes
        self.living: dict[str, subprocess.Popen[str]] = {}
        self._program = program
        self._options = options
        self._count = 0

    def add(self) -> None:
        name = f"{self.notes.name}-{self._count}"
        self._count += 1
        self.living[name] = children.start(
            self._program, self.data, self.notes / name, *self._options
        )

    def kill(self, name: str) -> None:
        self.living[name].kill()
        self.end(name)

    def end(self, name: str) -> int:
        process = self.living.pop(name)
        with process:
            return process.wait(DEADLINE_S)

    def finish(self) -> None:
        """Ask all to end; each has to end well."""
        for process in self.living.values():
            terminate(process)
        names = list(self.living)
        assert [self.end(name) for name in names] == [0] * len(names)

    def lines(self) -> Iterator[list[bytes]]:
        """The words of every whole line; who was killed may have left half of one."""
        for path in self.notes.iterdir():
            for line in path.read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    yield line.split()


def terminate(process: subprocess.Popen[str]) -> None:
    """Once it has begun to listen."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()


@pytest.fixture
def hands(tmp_path: Path) -> Iterator[tuple[Hands, Hands, Crowd]]:
    data, notes = tmp_path / "data", tmp_path / "notes"
    notes.mkdir()
    writers = Hands(data, tmp_path / "writers", WRITER, PARTITIONS, PAUSE_S)
    followers = Hands(data, tmp_path / "followers", FOLLOWER, PARTITIONS, PREFIX_EVERY)
    checked = next(line for line in MEMBER.splitlines() if "assert record.value" in line)
    members = Crowd(data, notes, MEMBER.replace(checked, ""))
    yield writers, followers, members
    for kind in (writers, followers, members):
        for name in list(kind.living):
            kind.kill(name)


def values_of(broker: Broker) -> list[list[bytes]]:
    partitions = broker.topic("orders").partitions()
    found = []
    for partition in partitions:
        assert partition.verify().end_offset == partition.end_offset
        records = partition.read_range(0, partition.end_offset)
        assert [record.offset for record in records] == list(range(partition.end_offset))
        found.append([bytes(record.value or b"") for record in records])
    return found


def wait_for_commits(data: Path, ends: list[int]) -> None:
    with Broker.open(data, read_only=True) as broker:
        consumer = broker.consumer("g", auto_commit=False)
        deadline = time.monotonic() + DEADLINE_S
        while True:
            committed = [consumer.committed(("orders", n)) or 0 for n in range(PARTITIONS)]
            if committed == ends:
                return
            assert time.monotonic() < deadline, (committed, ends)
            threading.Event().wait(0.1)


def check_acknowledged(writers: Hands, values: list[list[bytes]]) -> int:
    count = 0
    for partition, offset, value in writers.lines():
        assert values[int(partition)][int(offset)] == value
        count += 1
    everything = [value for one in values for value in one]
    assert len(set(everything)) == len(everything), "a record is there twice"
    return count


def check_followed(followers: Hands, values: list[list[bytes]]) -> int:
    """Every prefix that a follower saw is one of the log."""
    prefixes: list[dict[int, str]] = []
    for one in values:
        digest, known = hashlib.sha256(), {}
        for count, value in enumerate(one, 1):
            digest.update(value + b"\n")
            if not count % PREFIX_EVERY:
                known[count] = digest.hexdigest()
        prefixes.append(known)
    seen = 0
    for partition, end, digest_seen in followers.lines():
        assert prefixes[int(partition)][int(end)] == digest_seen.decode()
        seen += 1
    return seen


@pytest.mark.slow
def test_nothing_is_lost_while_writers_followers_and_members_are_killed(
    tmp_path: Path, hands: tuple[Hands, Hands, Crowd]
) -> None:
    chance = random.Random(int(os.environ.get("SOAK_SEED", "1")))
    writers, followers, members = hands
    data = tmp_path / "data"
    with Broker.open(data) as broker:
        broker.create_topic("orders", partitions=PARTITIONS, segment_bytes=1 << 16)
    kinds = [(writers, WRITERS), (followers, FOLLOWERS), (members, MEMBERS)]
    for kind, count in kinds:
        for _ in range(count):
            kind.add()
    turns = int(os.environ.get("SOAK_TURNS", TURNS))
    begun = time.monotonic()
    stopped: list[subprocess.Popen[str]] = []
    for turn in range(turns):
        victims, _ = chance.choice(kinds)
        name = chance.choice(sorted(victims.living))
        with contextlib.suppress(subprocess.TimeoutExpired):  # it is to live as long as that
            victims.living[name].wait(max(0.0, begun + turn * TURN_S - time.monotonic()))
            raise AssertionError(f"{name} ended by itself")
        victims.kill(name)
        victims.add()
        if turn % STOP_EVERY == 0:  # for as long, which is longer than anybody waits for it
            for process in stopped:
                process.send_signal(signal.SIGCONT)
            stopped = [members.living[chance.choice(sorted(members.living))]]
            stopped[0].send_signal(signal.SIGSTOP)
    for process in stopped:
        process.send_signal(signal.SIGCONT)
    writers.finish()
    with Broker.open(data) as broker:
        values = values_of(broker)
    wait_for_commits(data, [len(one) for one in values])
    for process in members.living.values():
        terminate(process)
    assert [members.end(name) for name in list(members.living)] == [0] * MEMBERS
    followers.finish()
    acknowledged = check_acknowledged(writers, values)
    prefixes = check_followed(followers, values)
    check_notes(members.read(), [len(one) for one in values])
    print(f"{sum(map(len, values))} records, {acknowledged} acknowledged, {prefixes} prefixes seen")
