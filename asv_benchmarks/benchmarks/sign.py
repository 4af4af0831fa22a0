"""What signing costs: a checkpoint, and publishing what is new."""

from __future__ import annotations

import os
import time

from benchmarks import logs
from benchmarks.disk import fresh_directory, remove_directory
from merkql import Broker, Signer
from merkql.transparency.key_file import write_key
from merkql.transparency.note import SigningKey

unit = "seconds"  # of what is tracked here, for asv's pages


class Checkpoint:
    """A checkpoint after each durable record: two syncs, here and beside the key, a signature."""

    toy = {"count": 3}
    count = 200

    def setup(self) -> None:
        self.path = fresh_directory("sign")
        key = os.path.join(self.path, "key")
        write_key(key, SigningKey.generate("bench.example"))
        self.broker = Broker.open(os.path.join(self.path, "data"), signing_key=key)
        self.partition = self.broker.create_topic(logs.TOPIC).partition(0)

    def teardown(self) -> None:
        self.broker.close()
        remove_directory(self.path)

    def track_seconds(self) -> float:
        """The median of one, without the record before it."""
        whole, _ = self._timed()
        return whole

    def track_seconds_beside_the_syncs(self) -> float:
        """The same without what the disk takes for its two syncs."""
        _, ours = self._timed()
        return ours

    def _timed(self) -> tuple[float, float]:
        producer, whole, ours = self.broker.producer(), [], []
        sync, synced = os.fdatasync, 0.0

        def timed_sync(descriptor: int) -> None:
            nonlocal synced
            begun = time.perf_counter()
            sync(descriptor)
            synced += time.perf_counter() - begun

        os.fdatasync = timed_sync
        try:
            for _ in range(self.count):
                producer.send(logs.TOPIC, b"x")
                synced, started = 0.0, time.perf_counter()
                self.partition.checkpoint()
                whole.append(time.perf_counter() - started)
                ours.append(whole[-1] - synced)
        finally:
            os.fdatasync = sync
        return sorted(whole)[len(whole) // 2], sorted(ours)[len(ours) // 2]


class Publish:
    """A million records that were not published yet; a directory of its own each time."""

    count = 1_000_000
    per_call = 1
    toy = {"count": 300}

    def setup(self) -> None:
        self.path = fresh_directory("publish")
        signer = Signer(SigningKey.generate("bench.example"))
        self.broker = Broker.open(os.path.join(self.path, "data"), signing_key=signer)
        logs.fill(self.broker, 0, self.count)
        self.partition = self.broker.topic(logs.TOPIC).partition(0)
        self.partition.checkpoint()
        self.runs = 0

    def teardown(self) -> None:
        self.broker.close()
        remove_directory(self.path)

    def time_publish(self) -> None:
        self.runs += 1
        self.partition.publish(os.path.join(self.path, f"public-{self.runs}"))
