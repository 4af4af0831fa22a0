"""How long a program waits before it can begin: import, a fresh log, a log of any length."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import logs, records
from benchmarks.disk import Overwrite, fresh_directory, remove_directory
from merkql import Broker

unit = "seconds"  # of what is tracked here, for asv's pages


def seconds_to_open(path: str, rounds: int) -> float:
    """The median of a few openings, the end of each partition found; closing is not timed."""
    spent = []
    for _ in range(rounds):
        begin = time.perf_counter()
        broker = Broker.open(path)
        for name in broker.topics():
            for partition in broker.topic(name).partitions():
                assert partition.end_offset > 0
        spent.append(time.perf_counter() - begin)
        broker.close()
    return statistics.median(spent)


class OpenClean:
    """`Broker.open` after a clean close, at any length."""

    params = [1_000, 100_000, 1_000_000]
    param_names = ["records"]
    toy = {"params": [10]}
    rounds = 5

    def setup(self, count: int) -> None:
        self.path = logs.log_of(count)

    def track_open_seconds(self, count: int) -> float:
        return seconds_to_open(self.path, self.rounds)


class OpenManyTopics:
    """`Broker.open` of 100 topics with four partitions each."""

    topics = 100
    rounds = 3
    toy = {"topics": 2}

    def setup(self) -> None:
        self.path = fresh_directory("topics")
        with Broker.open(self.path) as broker:
            producer = broker.producer()
            for number in range(self.topics):
                broker.create_topic(f"topic-{number}", partitions=4)
                for partition in range(4):
                    producer.send_values(f"topic-{number}", [b"value"], partition=partition)

    def track_open_seconds(self) -> float:
        return seconds_to_open(self.path, self.rounds)

    def teardown(self) -> None:
        remove_directory(self.path)


class Temporary:
    """A log for one test: made, one record, closed and gone; beside its bare system calls."""

    params = ["merkql", "floor"]
    param_names = ["store"]
    per_call = 1
    toy: dict[str, int] = {}
    FOLDERS, FILES = 6, 8

    def time_round_trip(self, store: str) -> None:
        if store == "merkql":
            with Broker.temporary() as broker:
                broker.producer().send("events", b"value")
            return
        with tempfile.TemporaryDirectory() as path:
            for number in range(self.FOLDERS):
                os.mkdir(f"{path}/{number}")
            for number in range(self.FILES):
                os.close(os.open(f"{path}/0/{number}", os.O_CREAT | os.O_WRONLY, 0o600))


class FreshDirectory:
    """From nothing to the first durable record, beside one sync of the floor."""

    params = ["merkql", "floor"]
    param_names = ["store"]
    toy: dict[str, int] = {}

    def setup(self, store: str) -> None:
        self.path = fresh_directory("fresh")
        self.number = 0
        self.value = records.values(1)[0]
        if store == "floor":
            self.floor = Overwrite(self.path)

    def track_first_record_seconds(self, store: str) -> float:
        self.number += 1
        begin = time.perf_counter()
        if store == "floor":
            self.floor.write(self.value)
            return time.perf_counter() - begin
        broker = Broker.open(f"{self.path}/{self.number}")
        broker.producer().send("events", self.value)
        spent = time.perf_counter() - begin
        broker.close()
        return spent

    def teardown(self, store: str) -> None:
        if store == "floor":
            self.floor.close()
        remove_directory(self.path)


class Import:
    """`import merkql`, and what writing needs of it, in a fresh interpreter, bytecode cached."""

    toy: dict[str, int] = {}
    CODE = """
import re, time

def resident():
    return 1024 * int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])

before = resident()
begin = time.perf_counter()
from merkql import Broker
spent = time.perf_counter() - begin
print(spent, resident() - before)
"""

    def setup(self) -> None:
        self.path = fresh_directory("bytecode")
        self.environment = {**os.environ, "PYTHONPYCACHEPREFIX": self.path}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._measure()

    def _measure(self) -> tuple[float, float]:
        command = [sys.executable, "-c", self.CODE]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=self.environment
        )
        seconds, size_bytes = done.stdout.split()
        return float(seconds), float(size_bytes)

    def track_import_seconds(self) -> float:
        return self._measure()[0]

    def track_import_bytes(self) -> float:
        return self._measure()[1]

    track_import_bytes.unit = "bytes"

    def teardown(self) -> None:
        remove_directory(self.path)
