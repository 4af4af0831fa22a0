"""What signing costs: a checkpoint, and publishing what is new."""

from __future__ import annotations

import os
import time

from benchmarks import logs
from benchmarks.disk import fresh_directory, remove_directory
from merkql import Broker, Signer
from merkql.transparency.key_file import write_key
from merkql.transparency.note import SigningKey


class Checkpoint:
    """A checkpoint after each record: two syncs, here and beside the key, and a signature."""

    toy = {"count": 3}
    count = 200

    def setup(self) -> None:
        self.path = fresh_directory("sign")
        key = os.path.join(self.path, "key")
        write_key(key, SigningKey.generate("bench.example"))
        self.broker = Broker.open(os.path.join(self.path, "data"), signing_key=key)
        self.partition = self.broker.create_topic(logs.TOPIC, durability="disk").partition(0)

    def teardown(self) -> None:
        self.broker.close()
        remove_directory(self.path)

    def track_seconds(self) -> float:
        """The median of one, without the record before it."""
        producer, taken = self.broker.producer(), []
        for _ in range(self.count):
            producer.send(logs.TOPIC, b"x")
            started = time.perf_counter()
            self.partition.checkpoint()
            taken.append(time.perf_counter() - started)
        return sorted(taken)[len(taken) // 2]


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
