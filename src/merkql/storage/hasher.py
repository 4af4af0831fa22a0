"""The thread that hashes the leaves of large groups while the write-ahead log is synced.

A frame of the log holds the records and no hashes, and the leader only waits for the disk then:
half of what a large write costs the processor is done in that time. It starts with the first such
group; a group whose turn has not come when the sync returns is hashed by its leader.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue

from merkql.storage.partition_log import Prepared
from merkql.storage.worker import Worker


class Hasher:
    """Hashes what it is given, in order; whoever needs a result takes it by ``Prepared.hash``."""

    def __init__(self, on_thread: Callable[[threading.Thread], None]) -> None:
        self._queue: SimpleQueue[Prepared | None] = SimpleQueue()
        self._worker = Worker("merkql-hasher", self._run, on_thread)

    def put(self, prepared: Prepared) -> None:
        """Have it hashed soon; by one thread at a time."""
        self._queue.put(prepared)
        self._worker.start()

    def close(self) -> None:
        """End the thread; what it has not hashed is hashed by who needs it."""
        self._queue.put(None)
        self._worker.join()

    def _run(self) -> None:
        while (prepared := self._queue.get()) is not None:
            with contextlib.suppress(Exception):  # who needs the hashes meets it again
                prepared.hash()
