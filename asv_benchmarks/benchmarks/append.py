"""How long a producer waits: one record, many, from many threads, with keys, at any length."""

from __future__ import annotations

import threading

from benchmarks import logs, records
from benchmarks.disk import fresh_directory, remove_directory
from benchmarks.stores import KINDS, MerkqlLz4, Store
from merkql import Broker, ProducerRecord


class SendOne:
    """One durable send of 256 bytes; the caller waits for it."""

    params = list(KINDS)
    param_names = ["store"]
    per_call = 1
    toy: dict[str, int] = {}

    def setup(self, store: str) -> None:
        self.path = fresh_directory("send")
        self.store: Store = KINDS[store](self.path)
        self.value = records.values(1)[0]

    def time_send(self, store: str) -> None:
        self.store.send(self.value)

    def teardown(self, store: str) -> None:
        self.store.close()
        remove_directory(self.path)


class SendValues:
    """Many values in one durable call; (count, size) of one call as in `sizes`."""

    sizes = {
        "1000 x 256 B": (1000, 256),
        "10000 x 256 B": (10_000, 256),
        "1000 x 64 B": (1000, 64),
        "1000 x 1 KiB": (1000, 1024),
        "64 x 64 KiB": (64, 65_536),
    }
    stores = {**KINDS, "merkql lz4": MerkqlLz4}
    params = [list(stores), list(sizes)]
    param_names = ["store", "call"]
    toy = {"most": 4}
    most = 1 << 20  # values in a call, whatever `sizes` says

    def setup(self, store: str, call: str) -> None:
        count, size_bytes = self.sizes[call]
        self.path = fresh_directory("values")
        self.store: Store = self.stores[store](self.path)
        self.values = records.values(min(count, self.most), size_bytes)
        self.per_call = len(self.values)

    def time_send_values(self, store: str, call: str) -> None:
        self.store.send_many(self.values)

    def teardown(self, store: str, call: str) -> None:
        self.store.close()
        remove_directory(self.path)


class SendBatch:
    """`send_batch` of `ProducerRecord`s with keys over four partitions, made beforehand."""

    per_call = 1000
    toy = {"per_call": 10}

    def setup(self) -> None:
        self.path = fresh_directory("batch")
        self.broker = Broker.open(self.path)
        self.broker.create_topic("orders", partitions=4)
        self.producer = self.broker.producer()
        pairs = zip(records.keys(self.per_call), records.values(self.per_call), strict=True)
        self.records = [ProducerRecord("orders", value, key=key) for key, value in pairs]

    def time_send_batch(self) -> None:
        self.producer.send_batch(self.records)

    def teardown(self) -> None:
        self.broker.close()
        remove_directory(self.path)


class SendNowait:
    """One thread queues single records and flushes: groups fill themselves."""

    per_call = 20_000
    toy = {"per_call": 20}

    def setup(self) -> None:
        self.path = fresh_directory("nowait")
        self.broker = Broker.open(self.path)
        self.broker.create_topic("events", partitions=1)
        self.producer = self.broker.producer()
        self.values = records.values(self.per_call)

    def time_send_nowait(self) -> None:
        send_nowait = self.producer.send_nowait
        for value in self.values:
            send_nowait("events", value)
        self.producer.flush()

    def teardown(self) -> None:
        self.broker.close()
        remove_directory(self.path)


class SendFromThreads:
    """Durable sends from many threads at once, each waiting for its own."""

    params = [1, 16, 64]
    param_names = ["threads"]
    per_call = 3200
    toy = {"per_call": 64}

    def setup(self, threads: int) -> None:
        self.path = fresh_directory("threads")
        self.broker = Broker.open(self.path)
        self.broker.create_topic("events", partitions=1)
        self.producer = self.broker.producer()
        self.value = records.values(1)[0]

    def _send(self, count: int) -> None:
        for _ in range(count):
            self.producer.send("events", self.value)

    def time_send(self, threads: int) -> None:
        count = self.per_call // threads
        workers = [threading.Thread(target=self._send, args=(count,)) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def teardown(self, threads: int) -> None:
        self.broker.close()
        remove_directory(self.path)


class SendValuesFromThreads:
    """`send_values` of 1,000 from one thread or four, each to a partition of its own."""

    params = [1, 4]
    param_names = ["threads"]
    calls = 40
    toy = {"calls": 4}

    def setup(self, threads: int) -> None:
        self.path = fresh_directory("parallel")
        self.broker = Broker.open(self.path)
        self.broker.create_topic("events", partitions=4)
        self.producer = self.broker.producer()
        self.values = records.values(1000)
        self.per_call = 1000 * self.calls

    def _send(self, partition: int, calls: int) -> None:
        for _ in range(calls):
            self.producer.send_values("events", self.values, partition=partition)

    def time_send_values(self, threads: int) -> None:
        workers = [
            threading.Thread(target=self._send, args=(partition, self.calls // threads))
            for partition in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def teardown(self, threads: int) -> None:
        self.broker.close()
        remove_directory(self.path)


class SendAtLength:
    """The cost of a record must not depend on how many there are already."""

    params = [1_000, 100_000]
    param_names = ["records"]
    toy = {"params": [10], "per_call": 10}
    per_call = 1000

    def setup(self, length: int) -> None:
        self.broker = Broker.open(logs.log_of(length, purpose="append"))
        self.producer = self.broker.producer()
        self.values = records.values(self.per_call)

    def time_send_values(self, length: int) -> None:
        self.producer.send_values(logs.TOPIC, self.values, partition=0)

    def teardown(self, length: int) -> None:
        self.broker.close()
