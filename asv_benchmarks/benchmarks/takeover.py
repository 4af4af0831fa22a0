"""How soon a waiting process goes on after the holder of the writer role was killed at work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import merkql
from benchmarks.disk import fresh_directory, remove_directory

HERE = str(Path(__file__).parents[1])
VALUE = bytes(256)
MOMENTS = ("1,000 queued", "in a group", "in a roll", "in retention")
# Comes to the moment, says so, and stands still with the role in its hand.
VICTIM = """
import sys, threading
from merkql import Broker, RetentionConfig
from merkql.storage.file_pool import FilePool
from merkql.storage.partition_log import PartitionLog
from merkql.storage.wal import Wal

unit = "seconds"  # of what is tracked here, for asv's pages

def stand(*arguments, **named):
    if not hasattr(arguments[-1], "endswith") or arguments[-1].endswith(".log"):
        print("there", flush=True)
        threading.Event().wait()
    return remove(*arguments)

path, moment, records = sys.argv[1:]
remove = FilePool.remove
broker = Broker.open(path)
producer = broker.producer()
producer.send_values("events", [bytes(256)] * int(records), partition=0)
if moment == "1,000 queued":
    Wal.sync = stand
    for _ in range(1000):
        producer.send_nowait("events", bytes(256))
    threading.Event().wait()
elif moment == "in a group":
    PartitionLog.apply = stand
    producer.send("events", bytes(256))
elif moment == "in a roll":
    PartitionLog.begin_segment = stand
    while True:
        producer.send_values("events", [bytes(256)] * 1000, partition=0)
else:
    FilePool.remove = stand
    broker.topic("events").alter(retention=RetentionConfig(max_records=100))
    broker.apply_retention()
    broker.topic("events").partition(0).compact()
"""


class TakeOver:
    """One process sends, and waits; the other holds the role, and is killed."""

    params = (list(MOMENTS),)
    param_names = ["killed with, or"]
    records = 6000
    toy = {"records": 6000}  # it has to be a segment

    def setup(self, moment: str) -> None:
        self.path = fresh_directory("takeover")
        self.broker = merkql.Broker.open(self.path)
        segment_bytes = 1 << 20 if moment in MOMENTS[2:] else 128 << 20  # each call fills one
        self.broker.create_topic("events", segment_bytes=segment_bytes)
        self.producer = self.broker.producer()
        self.acknowledged: list[int] = []

    def track_seconds(self, moment: str) -> float:
        """From the kill to the return of the `send` that waited for the role."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *sys.path])}
        command = [sys.executable, "-c", VICTIM, self.path, moment, str(self.records)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as victim:
            assert victim.stdout is not None
            assert victim.stdout.readline() == b"there\n", "it came to its moment"
            returned: list[float] = []
            sending = threading.Thread(target=lambda: returned.append(self.send()))
            sending.start()
            time.sleep(0.05)  # it stands in line by then
            begin = time.perf_counter()
            victim.kill()
            sending.join()
        return returned[0] - begin

    def send(self) -> float:
        """Send one record; when that returned."""
        self.acknowledged.append(self.producer.send("events", VALUE).offset)
        return time.perf_counter()

    def teardown(self, moment: str) -> None:
        partition = self.broker.topic("events").partition(0)
        assert partition.verify().end_offset > max(self.acknowledged), "nothing is lost"
        self.broker.close()
        remove_directory(self.path)
