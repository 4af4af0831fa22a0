"""A writing process is killed at a chosen moment of its work, and one that waits goes on.

Goal: nothing that was acknowledged is lost, wherever the kill strikes, and who waits for the role
needs no other to come. Method: a real process comes to the moment, says what was acknowledged and
stands still with the role; another waits in line; SIGKILL. How soon it goes on: `make bench`.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from merkql import Broker
from merkql.storage.files import Files
from merkql.storage.role import WriterRole
from support import children
from support.command import wait_until

VICTIM = """
import sys, threading
from merkql import Broker, RetentionConfig
from merkql.storage.file_pool import FilePool
from merkql.storage.partition_log import PartitionLog
from merkql.storage.wal import Wal

def stand(*arguments, **named):
    print(f"acknowledged {acknowledged}", flush=True)
    threading.Event().wait()

path, moment = sys.argv[1:]
broker = Broker.open(path)
producer = broker.producer()
acknowledged = 0
for _ in range(8):
    acknowledged += len(producer.send_values("t", [b"x" * 1000] * 3, partition=0))
if moment == "queued":
    Wal.sync = stand
    for _ in range(1000):
        producer.send_nowait("t", b"queued", partition=0)
elif moment == "group":
    PartitionLog.apply = stand
    producer.send("t", b"in the log", partition=0)
elif moment == "roll":
    PartitionLog.begin_segment = stand
    while True:
        producer.send("t", b"y" * 1000, partition=0)
        acknowledged += 1
else:
    broker.topic("t").alter(retention=RetentionConfig(max_records=5))
    FilePool.remove = stand
    broker.apply_retention()
    broker.topic("t").partition(0).compact()
threading.Event().wait()
"""


@pytest.mark.parametrize("moment", ["queued", "group", "roll", "retention"])
def test_who_waits_goes_on_and_nothing_acknowledged_is_lost(tmp_path: Path, moment: str) -> None:
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t", segment_bytes=16 << 10)
        partition = broker.topic("t").partition(0)
        offsets: list[int] = []
        beside = WriterRole(Files(), str(tmp_path))  # only looks
        with children.start(VICTIM, tmp_path, moment) as victim:
            assert victim.stdout is not None
            acknowledged = int(victim.stdout.readline().split()[1])
            waiting = threading.Thread(
                target=lambda: offsets.append(broker.producer().send("t", b"after").offset)
            )
            waiting.start()
            wait_until(lambda: beside.wanted)  # it stands in line
            assert offsets == []
            victim.kill()
            waiting.join(30)
        beside.close()
        assert len(offsets) == 1
        assert offsets[0] >= acknowledged
        assert partition.read(offsets[0]).value == b"after"
        kept = partition.read_range(partition.start_offset, acknowledged)
        assert [record.offset for record in kept] == [*range(partition.start_offset, acknowledged)]
        assert {(record.value or b"")[:1] for record in kept} <= {b"x", b"y"}
        assert partition.start_offset == (0 if moment != "retention" else acknowledged - 5 + 1)
        assert partition.verify().end_offset == offsets[0] + 1
