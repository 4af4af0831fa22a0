"""Several processes that write one directory: what they reach together, and each its share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.disk import fresh_directory, remove_directory

HERE = str(Path(__file__).parents[1])
# Each line of input is a turn of so many seconds; the answer is how many records it sent in it.
MERKQL = """
import sys, time
from merkql import Broker
from merkql.storage import role

if sys.argv[3] == "turns":
    role.KEEP_MIN_S = role.KEEP_MAX_S = 0.0  # every group is another's
with Broker.open(sys.argv[1], exclusive=sys.argv[3] == "exclusive") as broker:
    producer, values = broker.producer(), [bytes(256)] * int(sys.argv[2])
    producer.send_values("events", values, partition=0)
    print("ready", flush=True)
    for line in sys.stdin:
        end, count = time.monotonic() + float(line), 0
        while time.monotonic() < end:
            if len(values) == 1:
                producer.send("events", values[0])
            else:
                producer.send_values("events", values, partition=0)
            count += len(values)
        print(count, flush=True)
"""
SQLITE = """
import sqlite3, sys, time

connection = sqlite3.connect(sys.argv[1] + "/log.db", isolation_level=None, timeout=60)
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("PRAGMA synchronous=FULL")
connection.execute("CREATE TABLE IF NOT EXISTS log(id INTEGER PRIMARY KEY, value BLOB NOT NULL)")
values = [(bytes(256),)] * int(sys.argv[2])
print("ready", flush=True)
for line in sys.stdin:
    end, count = time.monotonic() + float(line), 0
    while time.monotonic() < end:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO log(value) VALUES(?)", values)
        connection.execute("COMMIT")
        count += len(values)
    print(count, flush=True)
"""


class Processes:
    """So many processes, each sending so many durable records a call, for a moment."""

    params = (["merkql", "exclusive", "sqlite3"], [1, 2, 4], [1, 1000])
    param_names = ["store", "processes", "records a call"]
    seconds = 1.0
    toy = {"seconds": 0.02}

    def setup(self, store: str, processes: int, per_call: int) -> None:
        self.path = fresh_directory("processes")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *sys.path])}
        program = SQLITE if store == "sqlite3" else MERKQL
        self.writers = [
            subprocess.Popen(
                [sys.executable, "-c", program, self.path, str(per_call), store],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
            for _ in range(1 if store == "exclusive" else processes)  # it shares with nobody
        ]
        for writer in self.writers:
            _answer(writer)

    def counts(self) -> list[int]:
        """How many records each process sent in one turn."""
        for writer in self.writers:
            assert writer.stdin is not None
            writer.stdin.write(f"{self.seconds}\n".encode())
            writer.stdin.flush()
        return [int(_answer(writer)) for writer in self.writers]

    def track_seconds_a_record(self, store: str, processes: int, per_call: int) -> float:
        """Of all processes together."""
        return self.seconds / max(1, sum(self.counts()))

    def track_smallest_share(self, store: str, processes: int, per_call: int) -> float:
        """What the slowest process got of an equal share."""
        counts = self.counts()
        return min(counts) * len(counts) / max(1, sum(counts))

    def teardown(self, store: str, processes: int, per_call: int) -> None:
        for writer in self.writers:
            writer.communicate()
        remove_directory(self.path)


class HandOver:
    """What a group costs more where each is of another process than the one before."""

    seconds = 1.0
    toy = {"seconds": 0.02}

    def setup(self) -> None:
        self.alone, self.turns = Processes(), Processes()
        self.alone.seconds = self.turns.seconds = self.seconds
        self.alone.setup("merkql", 1, 1)
        self.turns.setup("turns", 2, 1)

    def track_seconds(self) -> float:
        """Beside the group and its sync: waking, taking in what the other wrote, giving up."""
        alone = self.alone.track_seconds_a_record("merkql", 1, 1)
        return max(1e-9, self.turns.track_seconds_a_record("turns", 2, 1) - alone)

    def teardown(self) -> None:
        self.alone.teardown("merkql", 1, 1)
        self.turns.teardown("turns", 2, 1)


def _answer(writer: subprocess.Popen[bytes]) -> bytes:
    assert writer.stdout is not None
    line = writer.stdout.readline()
    assert line, "a writing process ended"
    return line
