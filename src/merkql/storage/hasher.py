"""The thread that hashes the leaves of large groups while the write-ahead log is synced.

A WAL frame holds records but no hashes, so the leader would only wait for the disk meanwhile; this
moves half of a large write's CPU time there. The thread starts with the first such group. What it
has not hashed when the sync returns is hashed by the leader.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue

from merkql.storage.partition_log import Prepared
from merkql.storage.worker import Worker


class Hasher:
    """Hashes in order what it is given; results are taken with ``Prepared.hash``."""

    def __init__(self, on_thread: Callable[[threading.Thread], None]) -> None:
        self._queue: SimpleQueue[Prepared | None] = SimpleQueue()
        self._worker = Worker("merkql-hasher", self._run, on_thread)

    def put(self, prepared: Prepared) -> None:
        """Queue a group's part for hashing."""
        self._queue.put(prepared)
        self._worker.start()

    def close(self) -> None:
        """End the thread; what is not hashed yet is hashed by whoever needs it."""
        self._queue.put(None)
        self._worker.join()

    def _run(self) -> None:
        while (prepared := self._queue.get()) is not None:
            with contextlib.suppress(Exception):  # raised again where the hashes are needed
                prepared.hash()
