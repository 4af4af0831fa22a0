"""How long a durable `send` takes at worst: every one of a minute, alone and beside a batch writer.

Segments end, retention frees them, the write-ahead log is recycled and the background syncs within
that minute. A probe syncs a file of its own on the same disk meanwhile: a pause is the disk's where
syncs of the probe stood still for half of it.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from benchmarks import records
from benchmarks.disk import Overwrite, fresh_directory, remove_directory
from benchmarks.distribution import Distribution, unexplained
from merkql import Broker, RetentionConfig

unit = "seconds"  # of what is tracked here, for asv's pages

LOADS = ("alone", "beside a batch writer")
PROBE_INTERVAL_S = 0.01


@contextmanager
def repeated(work: Callable[[], object], interval_s: float) -> Iterator[None]:
    """Have another thread do something again and again while the block runs."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(interval_s):
            work()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@functools.cache
def measure(load: str, seconds: float) -> tuple[Distribution, Distribution]:
    """Every send of so many seconds, and every sync of the probe; once for all who ask."""
    sends, syncs = Distribution(), Distribution()
    path, beside = fresh_directory("latency"), fresh_directory("probe")
    floor, value, many = Overwrite(beside), records.values(1)[0], records.values(1000)

    def probe() -> None:
        begin = time.perf_counter_ns()
        floor.write(value)
        syncs.note(begin, time.perf_counter_ns())

    try:
        with Broker.open(path) as broker:
            kept = RetentionConfig(max_bytes=16 << 20)
            broker.create_topic("events", partitions=1, segment_bytes=4 << 20, retention=kept)
            broker.create_topic("bulk", partitions=1, segment_bytes=16 << 20, retention=kept)
            producer = broker.producer()
            batch = functools.partial(producer.send_values, "bulk", many)
            writer = repeated(batch, 1e-3) if load != LOADS[0] else nullcontext()
            producer.send("events", value)
            with repeated(probe, PROBE_INTERVAL_S), writer:
                stop = time.perf_counter_ns() + int(seconds * 1e9)
                end = begin = time.perf_counter_ns()
                while end < stop:
                    begin = time.perf_counter_ns()
                    producer.send("events", value)
                    end = time.perf_counter_ns()
                    sends.note(begin, end)
    finally:
        floor.close()
        remove_directory(path)
        remove_directory(beside)
    return sends, syncs


class SendLatency:
    """Durable sends of 256 bytes, one after the other; the probe's syncs as the floor."""

    params = [list(LOADS), ["merkql", "floor"]]
    param_names = ["load", "store"]
    seconds = 10.0
    toy = {"seconds": 0.1}
    timeout = 300

    def _of(self, load: str, store: str) -> Distribution:
        return measure(load, self.seconds)[store == "floor"]

    def track_p50_seconds(self, load: str, store: str) -> float:
        return self._of(load, store).seconds("p50")

    def track_p99_seconds(self, load: str, store: str) -> float:
        return self._of(load, store).seconds("p99")

    def track_p999_seconds(self, load: str, store: str) -> float:
        return self._of(load, store).seconds("p99.9")

    def track_max_seconds(self, load: str, store: str) -> float:
        return self._of(load, store).seconds("max")

    def track_unexplained_pauses(self, load: str, store: str) -> float:
        """Of more than 50 ms."""
        return len(unexplained(*measure(load, self.seconds))) if store == "merkql" else 0

    track_unexplained_pauses.unit = "pauses"
