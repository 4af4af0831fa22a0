"""How long a program waits before it can begin: import, a fresh log, a log of any length."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks import logs, records
from benchmarks.disk import Overwrite, fresh_directory, remove_directory
from merkql import Broker


def seconds_to_open(path: str, rounds: int) -> float:
    """The median of a few openings; the closing between them is not timed."""
    spent = []
    for _ in range(rounds):
        begin = time.perf_counter()
        broker = Broker.open(path)
        spent.append(time.perf_counter() - begin)
        broker.close()
    return statistics.median(spent)


class OpenClean:
    """`Broker.open` after a clean close, and the first and last record read."""

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
                producer.send_values(f"topic-{number}", records.values(8))

    def track_open_seconds(self) -> float:
        return seconds_to_open(self.path, self.rounds)

    def teardown(self) -> None:
        remove_directory(self.path)


class Temporary:
    """A log for one test: made, one record, closed and gone."""

    per_call = 1
    toy: dict[str, int] = {}

    def time_round_trip(self) -> None:
        with Broker.temporary() as broker:
            broker.producer().send("events", b"value")


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
    """`import merkql` in a fresh interpreter: time, and what the process grew by."""

    toy: dict[str, int] = {}
    CODE = """
import resource, time
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begin = time.perf_counter()
import merkql
spent = time.perf_counter() - begin
print(spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""

    def _measure(self) -> tuple[float, float]:
        command = [sys.executable, "-c", self.CODE]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds, kibibytes = out.split()
        return float(seconds), float(kibibytes) * 1024

    def track_import_seconds(self) -> float:
        return self._measure()[0]

    def track_import_bytes(self) -> float:
        return self._measure()[1]
