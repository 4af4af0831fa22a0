"""Logs of many records, built once a process and shared by the benchmarks that only read.

Batches of 1,000, one partition; ten records a millisecond of event time.
"""

from __future__ import annotations

import atexit
import functools

from benchmarks import records
from benchmarks.disk import fresh_directory, remove_directory
from merkql import Broker

TOPIC = "events"
BATCH = 1000
FIRST_TIMESTAMP_MS = 1_356_998_400_000  # 2013-01-01
RECORDS_A_MS = 10


def timestamp_ms(offset: int) -> int:
    """The event time of a record of these logs."""
    return FIRST_TIMESTAMP_MS + offset // RECORDS_A_MS


def fill(broker: Broker, first: int, count: int) -> None:
    """Append records `first` … `first + count - 1` in durable batches."""
    producer = broker.producer()
    values = records.values(min(BATCH, count))
    for start in range(first, first + count, BATCH):
        stop = min(start + BATCH, first + count)
        times = [timestamp_ms(offset) for offset in range(start, stop)]
        producer.send_values(TOPIC, values[: stop - start], timestamps_ms=times, partition=0)
    producer.close()


@functools.cache
def log_of(count: int, compression: str = "none", purpose: str = "read") -> str:
    """A directory with `count` records, cleanly closed; removed when the process ends."""
    path = fresh_directory(f"{purpose}-{compression}-{count}")
    atexit.register(remove_directory, path)
    with Broker.open(path) as broker:
        broker.create_topic(TOPIC, partitions=1, compression=compression)
        fill(broker, 0, count)
    return path
