"""Several processes that write one directory: what they reach together, and each its share."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path

import merkql
from benchmarks.disk import fresh_directory, remove_directory

unit = "seconds"  # of what is tracked here, for asv's pages
HERE = str(Path(__file__).parents[1])
# Each line of input is a turn of so many seconds; the answer is how many records it sent in it.
MERKQL = """
import sys, time
from merkql import Broker

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
# The answer is when each sync began and ended, on a clock that all processes share.
TIMED = """
import json, sys, time
from merkql import Broker
from merkql.storage import role
from merkql.storage.files import Files

def timed(files, descriptor):
    begin = time.monotonic()
    sync(files, descriptor)
    spans.append((begin, time.monotonic()))

spans, sync = [], Files.sync
Files.sync = timed
role.KEEP_MIN_S = role.KEEP_MAX_S = 0.0  # every group is another's
with Broker.open(sys.argv[1]) as broker:
    producer, value = broker.producer(), bytes(256)
    producer.send("events", value, partition=0)
    print("ready", flush=True)
    for line in sys.stdin:
        spans.clear()
        end = time.monotonic() + float(line)
        while time.monotonic() < end:
            producer.send("events", value)
        print(json.dumps(spans), flush=True)
"""
SQLITE = """
import sqlite3, sys, time

connection = sqlite3.connect(sys.argv[1] + "/log.db", isolation_level=None, timeout=60)
connection.execute("PRAGMA synchronous=FULL")
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
    looks = 3  # at one second after another, for the worst
    toy = {"seconds": 0.02, "looks": 1}

    def setup(self, store: str, processes: int, per_call: int) -> None:
        self.path = fresh_directory("processes")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *sys.path])}
        program = {"sqlite3": SQLITE, "timed": TIMED}.get(store, MERKQL)
        if store == "sqlite3":
            _create_database(self.path)
        self.writers = [
            subprocess.Popen(
                [sys.executable, "-c", program, self.path, str(per_call), store],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
            for _ in range(1 if store == "exclusive" else processes)  # it shares with nobody
        ]
        try:
            for writer in self.writers:
                _answer(writer)
        except AssertionError:
            self.teardown(store, processes, per_call)
            raise

    def counts(self) -> list[int]:
        """How many records each process sent in one turn."""
        return [int(answer) for answer in self.answers(self.seconds)]

    def answers(self, seconds: float) -> list[bytes]:
        """What each process says after a turn of so many seconds."""
        self.begin(seconds)
        return [_answer(writer) for writer in self.writers]

    def begin(self, seconds: float) -> None:
        for writer in self.writers:
            assert writer.stdin is not None
            writer.stdin.write(f"{seconds}\n".encode())
            writer.stdin.flush()

    def track_seconds_a_record(self, store: str, processes: int, per_call: int) -> float:
        """Of all processes together."""
        return self.seconds / max(1, sum(self.counts()))

    def track_smallest_share(self, store: str, processes: int, per_call: int) -> float:
        """What the slowest process got of an equal share, in the worst of some seconds."""
        seconds = [self.counts() for _ in range(self.looks)]
        return min(min(one) * len(one) / max(1, sum(one)) for one in seconds)

    track_smallest_share.unit = "of an equal share"

    def teardown(self, store: str, processes: int, per_call: int) -> None:
        for writer in self.writers:
            writer.communicate()
        remove_directory(self.path)


class OpenBeside:
    """A process opens the directory and closes it, beside others that write without a pause."""

    writers = 3
    toy = {"writers": 1}

    def setup(self) -> None:
        self.others = Processes()
        self.others.setup("merkql", self.writers, 1)

    def track_seconds(self) -> float:
        """Two places in the line: for the opening, and for the closing."""
        self.others.begin(0.2)
        time.sleep(0.05)  # they are at it by then
        begin = time.perf_counter()
        merkql.Broker.open(self.others.path).close()
        taken = time.perf_counter() - begin
        for writer in self.others.writers:
            _answer(writer)
        return taken

    def teardown(self) -> None:
        self.others.teardown("merkql", self.writers, 1)


class HandOver:
    """What passes between two syncs where the second is of another process, beside one's own."""

    seconds = 0.5
    toy = {"seconds": 0.02}

    def setup(self) -> None:
        self.alone, self.turns = Processes(), Processes()
        self.alone.setup("timed", 1, 1)
        self.turns.setup("timed", 2, 1)

    def track_seconds(self) -> float:
        """Waking, taking in what the other wrote, giving up: medians of one turn each."""
        between = self.pauses(self.turns, of_others=True)
        return between - self.pauses(self.alone, of_others=False)

    def pauses(self, processes: Processes, *, of_others: bool) -> float:
        """The median time from the end of a sync to the beginning of the next."""
        spans = []
        for number, answer in enumerate(processes.answers(self.seconds)):
            spans += [(begin, end, number) for begin, end in json.loads(answer)]
        spans.sort()
        found = [
            later[0] - earlier[1]
            for earlier, later in itertools.pairwise(spans)
            if (later[2] != earlier[2]) == of_others
        ]
        return statistics.median(found or [0.0])

    def teardown(self) -> None:
        self.alone.teardown("timed", 1, 1)
        self.turns.teardown("timed", 2, 1)


def _create_database(path: str) -> None:
    """Before anybody writes: two that turn it to WAL at once are told that it is locked."""
    with contextlib.closing(sqlite3.connect(os.path.join(path, "log.db"))) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE log(id INTEGER PRIMARY KEY, value BLOB NOT NULL)")


def _answer(writer: subprocess.Popen[bytes]) -> bytes:
    assert writer.stdout is not None
    line = writer.stdout.readline()
    assert line, "a writing process ended"
    return line
