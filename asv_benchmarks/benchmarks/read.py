"""How long a consumer waits: everything in order, one record by number, a place by time."""

from __future__ import annotations

import os
import random
from pathlib import Path

from benchmarks import logs, records
from benchmarks.disk import fresh_directory, remove_directory
from benchmarks.stores import KINDS, MerkqlLz4, Store
from merkql import Broker


class Poll:
    """Every record of a log as objects, in order, from the page cache."""

    stores = {**KINDS, "merkql lz4": MerkqlLz4}
    params = list(stores)
    param_names = ["store"]
    per_call = 200_000
    toy = {"per_call": 10}

    def setup(self, store: str) -> None:
        self.path = fresh_directory("poll")
        self.store: Store = self.stores[store](self.path)
        values = records.values(min(1000, self.per_call))
        for _ in range(self.per_call // len(values)):
            self.store.send_many(values)

    def time_poll(self, store: str) -> None:
        count = self.store.read()
        assert count >= self.per_call, f"{store} read {count} of {self.per_call} records"

    def teardown(self, store: str) -> None:
        self.store.close()
        remove_directory(self.path)


class ReadOne:
    """`read(offset)` at random; the floor reads 16 KiB at a random place of the same segments."""

    params = ["merkql", "floor"]
    param_names = ["store"]
    count = 1_000_000
    per_call = 2000
    toy = {"count": 20, "per_call": 10}
    BATCH_BYTES = 16 << 10

    def setup(self, store: str) -> None:
        path = logs.log_of(self.count)
        generator = random.Random(records.SEED)
        self.descriptors: list[int] = []
        if store == "merkql":
            self.broker = Broker.open(path)
            self.partition = self.broker.topic(logs.TOPIC).partition(0)
            self.offsets = [generator.randrange(self.count) for _ in range(self.per_call)]
        else:
            segments = sorted(Path(path).glob("topics/*/*/*.log"))
            self.descriptors = [os.open(segment, os.O_RDONLY) for segment in segments]
            sizes = [os.fstat(descriptor).st_size for descriptor in self.descriptors]
            self.places = [
                (descriptor, generator.randrange(size))
                for descriptor, size in generator.choices(
                    list(zip(self.descriptors, sizes, strict=True)), sizes, k=self.per_call
                )
            ]

    def time_read(self, store: str) -> None:
        if store == "merkql":
            read = self.partition.read
            for offset in self.offsets:
                read(offset)
        else:
            pread, size = os.pread, self.BATCH_BYTES
            for descriptor, position in self.places:
                pread(descriptor, size, position)

    def teardown(self, store: str) -> None:
        if store == "merkql":
            self.broker.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


class FindTime:
    """`offset_for_timestamp` at random times."""

    count = 1_000_000
    per_call = 1000
    toy = {"count": 20, "per_call": 10}

    def setup(self) -> None:
        self.broker = Broker.open(logs.log_of(self.count))
        self.partition = self.broker.topic(logs.TOPIC).partition(0)
        generator = random.Random(records.SEED)
        offsets = [generator.randrange(self.count) for _ in range(self.per_call)]
        self.times = [logs.timestamp_ms(offset) for offset in offsets]

    def time_offset_for_timestamp(self) -> None:
        find = self.partition.offset_for_timestamp
        for time_ms in self.times:
            find(time_ms)

    def teardown(self) -> None:
        self.broker.close()
