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

unit = "seconds"  # of what is tracked here, for asv's pages

path, count = sys.argv[1], int(sys.argv[2])
broker = Broker.open(path)
broker.create_topic(logs.TOPIC, partitions=1, segment_bytes=1 << 30)
logs.fill(broker, 0, count)
print("written", flush=True)
sys.stdin.read()
"""


class Recover:
    """Opening after `kill -9`: as it was left, or with all that is derived of the tail lost.

    Without its tail page, as after a power cut, the whole unsealed segment is scanned, hashed and
    indexed again; with it only what came after the last background sync.
    """

    params = ["killed", "tail page lost"]
    param_names = ["state"]
    count = 300_000
    toy = {"count": 20}

    def _write_and_kill(self, path: str) -> None:
        command = [sys.executable, "-c", WRITER, path, str(self.count)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *sys.path])}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        ) as child:
            assert child.stdout is not None
            said = child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        assert said == b"written\n", "the writer died before it had written"

    def track_seconds(self, state: str) -> float:
        path = fresh_directory("recover")
        try:
            self._write_and_kill(path)
            if state != "killed":
                next(Path(path).glob("topics/*/0/tail")).unlink()
            begin = time.perf_counter()
            broker = Broker.open(path)
            end_offset = broker.topic(logs.TOPIC).partition(0).end_offset
            spent = time.perf_counter() - begin
            broker.close()
        finally:
            remove_directory(path)
        assert end_offset == self.count, f"{self.count - end_offset} records lost"
        return spent

    def track_seconds_a_record(self, state: str) -> float:
        return self.track_seconds(state) / self.count


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
