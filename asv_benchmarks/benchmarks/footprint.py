"""What merkql takes: memory while records stream through, bytes on the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks import logs, records
from benchmarks.disk import directory_bytes, fresh_directory, remove_directory
from merkql import Broker

HERE = str(Path(__file__).parents[1])
# Prints how far the resident memory ever rose above what it was before merkql was imported.
PROLOGUE = """
import re, sys

unit = "bytes"  # of what is tracked here, for asv's pages

def peak(): return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

before = peak()
path, count = sys.argv[1], int(sys.argv[2])
from benchmarks import logs
from merkql import Broker
"""
INGEST = """
with Broker.open(path) as broker:
    broker.create_topic(logs.TOPIC, partitions=1)
    logs.fill(broker, 0, count)
print(peak() - before)
"""
POLL = """
with Broker.open(path) as broker, broker.consumer("reader", auto_commit=False) as consumer:
    consumer.assign([(logs.TOPIC, 0)])
    got = 0
    while records := consumer.poll():
        got += len(records)
assert got == count, (got, count)
print(peak() - before)
"""


class Memory:
    """Resident memory above the interpreter's while this much goes in, and is polled back."""

    count = 400_000
    toy = {"count": 20}

    def setup(self) -> None:
        self.path = fresh_directory("memory")
        self.ingest_bytes = self._run(INGEST)

    def _run(self, code: str) -> int:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *sys.path])}
        command = [sys.executable, "-c", PROLOGUE + code, self.path, str(self.count)]
        done = subprocess.run(
            command, check=True, env=environment, stdout=subprocess.PIPE, text=True
        )
        return int(done.stdout)

    def track_ingest_bytes(self) -> float:
        return self.ingest_bytes

    def track_poll_bytes(self) -> float:
        return self._run(POLL)

    def teardown(self) -> None:
        remove_directory(self.path)


class Peak:
    """All that a process has resident at most while this much goes in, and is polled back."""

    count = 400_000
    per_call = 1
    toy = {"count": 20}

    def setup(self) -> None:
        self.path = fresh_directory("peak")

    def peakmem_ingest_and_poll(self) -> None:
        with Broker.open(self.path) as broker:
            broker.create_topic(logs.TOPIC, partitions=1)
            logs.fill(broker, 0, self.count)
            with broker.consumer("reader", auto_commit=False) as consumer:
                consumer.assign([(logs.TOPIC, 0)])
                while consumer.poll():
                    pass

    def teardown(self) -> None:
        remove_directory(self.path)


class Disk:
    """Bytes on the disk a record of 256 bytes, tree and index included, after a clean close."""

    params = ["none", "lz4"]
    param_names = ["compression"]
    count = 100_000
    toy = {"count": 20}

    def track_bytes_per_record(self, compression: str) -> float:
        path = f"{logs.log_of(self.count, compression)}/topics"
        return directory_bytes(path) / self.count


class FreshDisk:
    """A fresh directory with 1,000 small records, while it is open."""

    count = 1000
    toy = {"count": 10}

    def track_bytes(self) -> float:
        path = fresh_directory("small")
        try:
            with Broker.open(path) as broker:
                producer = broker.producer()
                for value in records.values(self.count, 64):
                    producer.send("events", value)
                return directory_bytes(path)
        finally:
            remove_directory(path)
