"""How long a record travels: durable `send` in one process to handed out by `poll` in another.

And what the process that waits for it costs while nothing comes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.disk import fresh_directory, remove_directory
from merkql import Broker

HERE = str(Path(__file__).parents[1])
# The reader answers each record with the time it got it; both clocks are CLOCK_MONOTONIC.
READER = """
import sys, time
from merkql import Broker

unit = "seconds"  # of what is tracked here, for asv's pages

with Broker.open(sys.argv[1], read_only=True) as broker:
    consumer = broker.consumer("follower", auto_commit=False)
    consumer.assign([("events", 0)])
    print("ready", flush=True)
    while True:
        for record in consumer.poll(timeout=10):
            print(time.monotonic_ns(), flush=True)
"""


class Follow:
    """One durable record at a time through two processes."""

    count = 200
    idle_seconds = 5.0
    toy = {"count": 3, "idle_seconds": 0.1}

    def setup(self) -> None:
        self.path = fresh_directory("follow")
        self.broker = Broker.open(self.path)
        self.broker.create_topic("events", partitions=1)
        self.producer = self.broker.producer()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *sys.path])}
        self.reader = subprocess.Popen(
            [sys.executable, "-c", READER, self.path],
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._answer()

    def _answer(self) -> bytes:
        assert self.reader.stdout is not None
        line = self.reader.stdout.readline()
        assert line, "the reading process ended"
        return line

    def delays(self, *, from_return: bool = False) -> list[float]:
        """Seconds from before the send, or from its return, to after the poll; sorted.

        A record may be handed out in another process before the `send` of it has returned here.
        """
        found = []
        for _ in range(self.count):
            begin = time.monotonic_ns()
            self.producer.send("events", b"value")
            if from_return:
                begin = time.monotonic_ns()
            found.append(max(0, int(self._answer()) - begin) / 1e9)
        return sorted(found)

    def track_median_seconds(self) -> float:
        delays = self.delays()
        return delays[len(delays) // 2]

    def track_p99_seconds(self) -> float:
        delays = self.delays()
        return delays[len(delays) * 99 // 100]

    def track_p99_seconds_after_send_returned(self) -> float:
        delays = self.delays(from_return=True)
        return delays[len(delays) * 99 // 100]

    def track_share_of_a_core_while_idle(self) -> float:
        """Of the reading process, which polls with a timeout and is told of nothing."""
        before, begin = self._processor_seconds(), time.monotonic()
        time.sleep(self.idle_seconds)
        return (self._processor_seconds() - before) / (time.monotonic() - begin)

    track_share_of_a_core_while_idle.unit = "share"

    def _processor_seconds(self) -> float:
        with open(f"/proc/{self.reader.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def teardown(self) -> None:
        self.reader.kill()
        self.reader.communicate()
        self.broker.close()
        remove_directory(self.path)
