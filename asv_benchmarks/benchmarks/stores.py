"""What a Python program would keep a log in: merkql, its peers, and the floor below them all.

Each is used by its own best practice and is durable where merkql is: a call that returns has been
synced. ``send`` is one record, ``send_many`` one transaction, ``read`` everything in order.
"""

from __future__ import annotations

import importlib.util
import os
import sqlite3
from typing import Any, Protocol

from benchmarks.disk import Overwrite
from merkql import Broker


class Store(Protocol):
    """One log in a directory of its own."""

    def __init__(self, path: str) -> None: ...
    def send(self, value: bytes) -> None: ...
    def send_many(self, values: list[bytes]) -> None: ...
    def read(self) -> int: ...
    def close(self) -> None: ...


class Merkql:
    """As a user meets it: default settings, one partition."""

    compression = "none"

    def __init__(self, path: str) -> None:
        self.broker = Broker.open(path)
        self.broker.create_topic("events", partitions=1, compression=self.compression)
        self._producer = self.broker.producer()

    def send(self, value: bytes) -> None:
        self._producer.send("events", value)

    def send_many(self, values: list[bytes]) -> None:
        self._producer.send_values("events", values, partition=0)

    def read(self) -> int:
        count = 0
        with self.broker.consumer("reader", auto_commit=False) as consumer:
            consumer.assign([("events", 0)])
            while records := consumer.poll():
                count += len(records)
        return count

    def close(self) -> None:
        self.broker.close()


class MerkqlLz4(Merkql):
    """The same, batches compressed."""

    compression = "lz4"


class Floor:
    """The bare system calls: overwrite of written zeros and fdatasync; read by the MiB."""

    READ_BYTES = 1 << 20

    def __init__(self, path: str) -> None:
        self._file = Overwrite(path)
        self._path = os.path.join(path, "floor")
        self._joined: tuple[list[bytes], bytes] = ([], b"")
        self._count = 0
        self._size_bytes = 0

    def send(self, value: bytes) -> None:
        self._file.write(value)

    def send_many(self, values: list[bytes]) -> None:
        if self._joined[0] is not values:  # joined once: the floor makes no bytes
            self._joined = (values, b"".join(values))
        self._file.write(self._joined[1])
        self._count += len(values)
        self._size_bytes += len(self._joined[1])

    def read(self) -> int:
        """As many bytes as were sent; round the file again where that is more than it holds."""
        size_bytes = 0
        with open(self._path, "rb", buffering=0) as file:
            while size_bytes < self._size_bytes:
                data = file.read(self.READ_BYTES)
                size_bytes += len(data)
                if not data:
                    file.seek(0)
        return self._count

    def close(self) -> None:
        self._file.close()


class Sqlite:
    """sqlite3: a table in WAL mode with synchronous=FULL, which syncs each commit."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(os.path.join(path, "log.db"), isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE log(id INTEGER PRIMARY KEY, value BLOB NOT NULL)")

    def send(self, value: bytes) -> None:
        self._connection.execute("INSERT INTO log(value) VALUES(?)", (value,))

    def send_many(self, values: list[bytes]) -> None:
        self._connection.execute("BEGIN")
        rows = ((value,) for value in values)
        self._connection.executemany("INSERT INTO log(value) VALUES(?)", rows)
        self._connection.execute("COMMIT")

    def read(self) -> int:
        return sum(1 for _ in self._connection.execute("SELECT value FROM log ORDER BY id"))

    def close(self) -> None:
        self._connection.close()


class Lmdb:
    """lmdb: big-endian keys appended in order, many by one call of `putmulti`; synced commits."""

    MAP_BYTES = 1 << 36  # address space, not disk

    def __init__(self, path: str) -> None:
        import lmdb

        self._environment: Any = lmdb.open(os.path.join(path, "log"), map_size=self.MAP_BYTES)
        self._count = 0

    def send(self, value: bytes) -> None:
        with self._environment.begin(write=True) as transaction:
            transaction.put(self._count.to_bytes(8, "big"), value, append=True)
        self._count += 1

    def send_many(self, values: list[bytes]) -> None:
        first = self._count
        pairs = [(key.to_bytes(8, "big"), value) for key, value in enumerate(values, first)]
        with self._environment.begin(write=True) as transaction:
            transaction.cursor().putmulti(pairs, append=True)
        self._count += len(values)

    def read(self) -> int:
        count = 0
        with self._environment.begin() as transaction:
            for _value in transaction.cursor().iternext(keys=False):
                count += 1
        return count

    def close(self) -> None:
        self._environment.close()


class Rocks:
    """rocksdict (RocksDB): raw bytes, WAL synced with each write, WAL files recycled."""

    def __init__(self, path: str) -> None:
        import rocksdict

        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_recycle_log_file_num(4)
        options.set_write_buffer_size(256 << 20)
        self._database: Any = rocksdict.Rdict(os.path.join(path, "log"), options)
        self._batch: Any = rocksdict.WriteBatch
        self._synced: Any = rocksdict.WriteOptions()
        self._synced.sync = True
        self._count = 0

    def send(self, value: bytes) -> None:
        self._database.put(self._count.to_bytes(8, "big"), value, write_opt=self._synced)
        self._count += 1

    def send_many(self, values: list[bytes]) -> None:
        batch = self._batch(raw_mode=True)
        put = batch.put
        for key, value in enumerate(values, self._count):
            put(key.to_bytes(8, "big"), value)
        self._database.write(batch, write_opt=self._synced)
        self._count += len(values)

    def read(self) -> int:
        count = 0
        for _key, _value in self._database.items():
            count += 1
        return count

    def close(self) -> None:
        self._database.close()


def installed(*modules: str) -> bool:
    """Whether every one of these can be imported."""
    return all(importlib.util.find_spec(module) is not None for module in modules)


KINDS: dict[str, type[Store]] = {
    "merkql": Merkql,
    "floor": Floor,
    "sqlite3": Sqlite,
    **({"lmdb": Lmdb} if installed("lmdb") else {}),
    **({"rocksdict": Rocks} if installed("rocksdict") else {}),
}
