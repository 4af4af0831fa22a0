"""Processes that write one directory while retention, in the background, writes there too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from merkql import Broker, RetentionConfig
from merkql._core.accumulator import RecordAccumulator
from merkql.storage.partition_log import PartitionLog
from merkql.storage.writer import CommitRequest
from support import children

WRITERS = 3
WRITER = """
import os, sys
from merkql import Broker

with Broker.open(sys.argv[1]) as broker:
    producer, me = broker.producer(), os.getpid()
    for turn in range(40):
        values = [f"{me}-{turn}-{number}".encode() for number in range(300)]
        sent = [producer.send_nowait("t", one, partition=n % 2) for n, one in enumerate(values)]
        producer.send_values("short", [bytes(300)] * 100)
        for value, delivery in zip(values, sent):
            place = delivery.result(60)
            print(place.partition, place.offset, value.decode())
"""


def test_offsets_were_given_twice_beside_retention_in_the_background(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        topic = broker.create_topic("t", partitions=2)
        partitions = [topic.partition(number) for number in range(2)]
        newest = RetentionConfig(max_records=500)
        broker.create_topic("short", segment_bytes=1 << 16, retention=newest)
        acknowledged = []
        with ThreadPoolExecutor() as threads:
            for output in threads.map(children.run, [WRITER] * WRITERS, [tmp_path] * WRITERS):
                acknowledged += [line.split() for line in output.splitlines()]
        there = {
            (str(partition.index), str(record.offset)): record.value
            for partition in partitions
            for record in partition.read_range(0, partition.end_offset)
        }
        assert len(acknowledged) == WRITERS * 40 * 300 == len(there)
        for number, offset, value in acknowledged:
            assert there[number, offset] == value.encode()
        for partition in partitions:
            partition.verify()


def test_who_handed_the_lead_to_the_background_passed_for_the_leader(tmp_path: Path) -> None:
    with Broker.open(tmp_path) as broker:
        broker.producer().send("t", b"this thread led last")
        log = broker.topic("t")._open_log(0)
        assert isinstance(log, PartitionLog)
        records = RecordAccumulator(0)
        records.add(None, b"in the background", (), 1)
        committer = broker._engine.writing()
        with committer.lock:  # the background thread cannot take the lead yet
            committer.enqueue_locked(CommitRequest([(log, records)], durable=True))
            assert not committer.is_mine
            assert not log.led
        broker.producer().send("t", b"behind it")
        assert [r.value for r in broker.topic("t").partition(0).read_range(1, 3)] == [
            b"in the background",
            b"behind it",
        ]
