"""Eight members in processes of their own beside a writer; each second one is killed, or stopped.

Each process writes down what it was handed, and in which generation, before it commits; what they
wrote together is judged in the end against what was sent.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from merkql import Broker, Consumer
from support import children

MEMBERS = 8
PARTITIONS = 12
TURNS = 30
TURN_S = 1.0
DEADLINE_S = 60.0
REBALANCE_TIMEOUT_S = 0.3

MEMBER = """
import json, os, signal, sys, time
from merkql import Broker, StaleGenerationError

stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

def note(**what):
    os.write(log, json.dumps({"at": time.monotonic(), **what}).encode() + b"\\n")

def numbers(partitions):
    return [one.partition for one in partitions]

with Broker.open(sys.argv[1], read_only=True) as broker:
    consumer = broker.consumer("g", auto_commit=False, rebalance_timeout=float(sys.argv[3]))
    consumer.subscribe(
        ["orders"],
        on_assign=lambda gained: note(gained=numbers(gained)),
        on_revoke=lambda lost: note(lost=numbers(lost)),
    )
    print("ready", flush=True)
    while not stopped:
        records = consumer.poll(timeout=0.2, max_records=50)
        if not records:
            continue
        generation = consumer._membership.generation
        handed = {}
        for record in records:
            assert record.value == b"%d/%d" % (record.partition, record.offset), record
            handed.setdefault(record.partition, []).append(record.offset)
        note(generation=generation, handed=handed)
        try:
            consumer.commit_sync()
        except StaleGenerationError as error:
            note(refused=str(error))
"""


class Crowd:
    """The members that live, and the notes of all that ever did."""

    def __init__(self, data: Path, notes: Path, program: str = MEMBER) -> None:
        self.data = data
        self.program = program
        self.notes = notes
        self.living: dict[str, subprocess.Popen[str]] = {}
        self.count = 0

    def add(self) -> None:
        """One more member; returns at once."""
        name = f"{self.count:03d}"
        self.count += 1
        self.living[name] = children.start(
            self.program, self.data, self.notes / name, REBALANCE_TIMEOUT_S
        )

    def kill(self, name: str) -> float:
        """End one as the system would; when that was."""
        at = time.monotonic()
        self.living[name].kill()
        self.end(name)
        return at

    def end(self, name: str) -> int:
        process = self.living.pop(name)
        with process:  # and its pipes
            return process.wait(DEADLINE_S)

    def read(self) -> dict[str, list[dict[str, Any]]]:
        """All whole notes by member; a killed one may have left half a line."""
        return {
            path.name: [
                json.loads(line)
                for line in path.read_bytes().splitlines(keepends=True)
                if line.endswith(b"\n")
            ]
            for path in sorted(self.notes.iterdir())
        }


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    (tmp_path / "notes").mkdir()
    crowd = Crowd(tmp_path / "data", tmp_path / "notes")
    yield crowd
    for name in list(crowd.living):
        crowd.kill(name)


def write_until(broker: Broker, done: Event, sent: list[int]) -> None:
    producer = broker.producer()
    while not done.is_set():
        for partition in range(PARTITIONS):
            values = [b"%d/%d" % (partition, sent[partition] + n) for n in range(5)]
            producer.send_values("orders", values, partition=partition)
            sent[partition] += 5
        done.wait(0.01)


class Commits(Thread):
    """Looks at what the group committed, as long as it is not all; no commit may go back."""

    def __init__(self, consumer: Consumer, sent: list[int], done: Event) -> None:
        super().__init__()
        self.committed = [0] * PARTITIONS
        self.went_back: list[str] = []
        self._consumer = consumer
        self._sent = sent
        self._done = done

    def run(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not self._done.is_set() or self.committed != self._sent:
            if not self._done.wait(0.05):
                deadline = time.monotonic() + DEADLINE_S
            elif time.monotonic() > deadline:
                return
            for partition, before in enumerate(self.committed):
                now = self._consumer.committed(("orders", partition)) or 0
                if now < before:
                    self.went_back.append(f"{partition}: {before} to {now}")
                self.committed[partition] = now


def check_notes(notes: dict[str, list[dict[str, Any]]], sent: list[int]) -> None:
    """Everything was handed out, and no partition to two members of one generation."""
    seen = defaultdict(set)
    owners: dict[tuple[int, int], str] = {}
    for name, lines in notes.items():
        for line in lines:
            for partition, offsets in line.get("handed", {}).items():
                seen[int(partition)].update(offsets)
                assert offsets == list(range(offsets[0], offsets[-1] + 1))
                place = (line["generation"], int(partition))
                assert owners.setdefault(place, name) == name, f"{place} handed out twice"
    for partition, count in enumerate(sent):
        assert seen[partition] == set(range(count)), f"records of {partition} were lost"


def slowest_inheritance(notes: dict[str, list[dict[str, Any]]], killed: dict[str, float]) -> float:
    """Seconds from a death until the last of its partitions was another's; for people to read."""
    worst = 0.0
    for name, at in killed.items():
        held: set[int] = set()
        for line in notes.get(name, ()):
            held = (held | set(line.get("gained", ()))) - set(line.get("lost", ()))
        for partition in held:
            taken = [
                line["at"]
                for other, lines in notes.items()
                for line in lines
                if other != name and line["at"] > at and partition in line.get("gained", ())
            ]
            worst = max(worst, min(taken, default=at) - at)
    return worst


@pytest.mark.slow
def test_members_that_are_killed_and_stopped_lose_nothing(tmp_path: Path, crowd: Crowd) -> None:
    chance = random.Random(int(os.environ.get("SOAK_SEED", "1")))
    turns = int(os.environ.get("SOAK_TURNS", TURNS))
    sent, done, killed = [0] * PARTITIONS, Event(), {}
    with Broker.open(tmp_path / "data") as broker:
        broker.create_topic("orders", partitions=PARTITIONS, segment_bytes=1 << 16)
        commits = Commits(broker.consumer("g", auto_commit=False), sent, done)
        threads = [Thread(target=write_until, args=[broker, done, sent]), commits]
        for thread in threads:
            thread.start()
        try:
            for _ in range(MEMBERS):
                crowd.add()
            for turn in range(turns):
                name = chance.choice(sorted(crowd.living))
                if turn % 3 == 2:
                    crowd.living[name].send_signal(signal.SIGSTOP)
                else:
                    killed[name] = crowd.kill(name)
                    crowd.add()
                done.wait(TURN_S)
                if name in crowd.living:
                    crowd.living[name].send_signal(signal.SIGCONT)
        finally:
            done.set()
            for thread in threads:
                thread.join()
    assert commits.went_back == []
    assert commits.committed == sent
    for process in crowd.living.values():
        process.terminate()
    assert [crowd.end(name) for name in list(crowd.living)] == [0] * MEMBERS
    notes = crowd.read()
    check_notes(notes, sent)
    print(f"{sum(sent)} records, {len(killed)} killed;", end=" ")
    print(f"a partition of a dead one waited at most {slowest_inheritance(notes, killed):.2f} s")
