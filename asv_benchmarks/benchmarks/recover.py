"""How long a program waits after a crash, and how long `verify` takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import logs
from benchmarks.disk import fresh_directory, remove_directory
from merkql import Broker

HERE = str(Path(__file__).parents[1])
WRITER = """
import sys
from benchmarks import logs
from merkql import Broker

path, count, durability = sys.argv[1], int(sys.argv[2]), sys.argv[3]
broker = Broker.open(path)
broker.create_topic(logs.TOPIC, partitions=1, durability=durability, segment_bytes=1 << 30)
logs.fill(broker, 0, count)
print("written", flush=True)
sys.stdin.read()
"""


class RecoverTail:
    """Opening after `kill -9`, the whole log one unsealed segment; from the page cache."""

    params = ["fsync", "disk"]
    param_names = ["durability"]
    count = 300_000
    toy = {"count": 20}

    def _write_and_kill(self, path: str, durability: str) -> None:
        command = [sys.executable, "-c", WRITER, path, str(self.count), durability]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *sys.path])}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        ) as child:
            assert child.stdout is not None
            said = child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        assert said == b"written\n", "the writer died before it had written"

    def track_seconds_a_record(self, durability: str) -> float:
        path = fresh_directory("recover-round")
        try:
            self._write_and_kill(path, durability)
            begin = time.perf_counter()
            broker = Broker.open(path)
            end_offset = broker.topic(logs.TOPIC).partition(0).end_offset
            spent = time.perf_counter() - begin
            broker.close()
        finally:
            remove_directory(path)
        assert end_offset == self.count, f"{self.count - end_offset} records lost"
        return spent / self.count


class Verify:
    """`Partition.verify`: every checksum, every leaf, the whole tree."""

    count = 100_000
    toy = {"count": 20}

    def setup(self) -> None:
        self.per_call = self.count
        self.broker = Broker.open(logs.log_of(self.count))
        self.partition = self.broker.topic(logs.TOPIC).partition(0)

    def time_verify(self) -> None:
        self.partition.verify()

    def teardown(self) -> None:
        self.broker.close()
