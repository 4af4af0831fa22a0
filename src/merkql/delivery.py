"""What ``send_nowait`` returns, and the request its records share until a leader takes it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Protocol

from merkql._core.accumulator import RecordAccumulator
from merkql._core.record import RecordMetadata
from merkql.errors import again
from merkql.storage.access import ProcessBound
from merkql.storage.arguments import check_seconds
from merkql.storage.partition_log import PartitionLog
from merkql.storage.writer import CommitRequest, Successor
from merkql.topic import Topic

logger = logging.getLogger("merkql.producer")
REPORT_INTERVAL_S = 10.0  # while refusals go on that nobody asks about


class Refusals:
    """Counts records of one producer that were refused, and says so where nobody asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0  # of those nobody asked about
        self._since = 0.0  # when the first of them was refused
        self._last = ""

    def note(self, count: int, error: BaseException) -> None:
        """Count records; and say so if those of a while ago were not asked about."""
        now = time.monotonic()
        if self._count and now - self._since > REPORT_INTERVAL_S:
            self.report()
        with self._lock:
            self._since = self._since if self._count else now
            self._count += count
            self._last = f"{type(error).__name__}: {error}"

    def note_asked(self) -> None:
        """Somebody was told of one."""
        with self._lock:
            self._count = max(0, self._count - 1)  # it may have been reported before

    def report(self) -> None:
        """Log how many nobody asked about since the last report, if any."""
        with self._lock:
            count, self._count = self._count, 0
        if count:
            logger.warning(
                "%d of the records given to send_nowait were refused and are not in the log, and "
                "nobody asked for their result(); the last: %s",
                count,
                self._last,
            )


class DeliveryOwner(Protocol):
    """Whoever counts what is on its way."""

    _refusals: Refusals

    def _delivered(self, request: Filling) -> None:
        """The request is committed or refused."""


class Place:
    """A partition's part of a request that is being filled."""

    __slots__ = ("accumulator", "index", "log", "part", "topic")

    def __init__(self, topic: str, index: int, log: PartitionLog) -> None:
        self.topic = topic
        self.index = index
        self.log = log
        self.accumulator = RecordAccumulator(0)
        self.part = -1  # its number in the request, once it has a record


class Delivery(ProcessBound):
    """The outcome of one ``send_nowait``, now or later. Can be awaited."""

    __slots__ = ("_index", "_place", "_request")

    def __init__(self, request: Filling, place: Place) -> None:
        self._request = request
        self._place = place
        self._index = len(place.accumulator) - 1  # it was the last to come

    def __repr__(self) -> str:
        place, request = self._place, self._request
        state = "on its way" if not request.done else "refused" if request.error else "durable"
        return f"<Delivery to {place.topic}/{place.index}, {state}>"

    def done(self) -> bool:
        """Whether the record is durable, or refused."""
        return self._request.done

    def result(self, timeout: float | None = None) -> RecordMetadata:
        """Where the record is, once it is as durable as its topic says.

        Raises ``TimeoutError`` after ``timeout`` seconds (the record may still become durable), and
        the error if it was refused.
        """
        seconds = check_seconds(timeout, "timeout")
        if not self._request.done and not self._request.wait(seconds):
            raise TimeoutError(f"the record was not committed within {timeout} seconds")
        place = self._place
        if self._request.error is not None:
            self._request.note_asked((place.part, self._index))
            raise again(self._request.error)
        offset = self._request.first_offsets[place.part] + self._index
        timestamp = place.accumulator.timestamp_ms(self._index)
        return RecordMetadata(place.topic, place.index, offset, timestamp)

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        if not self._request.done:
            import asyncio  # who awaits has it loaded; the others need not wait for it

            loop = asyncio.get_running_loop()
            future = loop.create_future()

            def deliver() -> None:
                if not future.done():  # a cancelled wait has its end already
                    future.set_result(None)

            def tell() -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(deliver)

            self._request.call_when_done(tell)
            yield from future
        return self.result(0)


class Filling(CommitRequest):
    """A request that ``send_nowait`` adds to until a leader takes it."""

    __slots__ = ("_asked", "_callbacks", "_changed", "_lock", "count", "owner", "places", "topics")

    def __init__(self, owner: DeliveryOwner, *, durable: bool) -> None:
        super().__init__([], durable=durable)
        self.owner = owner
        self.count = 0  # of its records
        self._asked: set[tuple[int, int]] = set()  # of the records that were refused
        self.topics: dict[str, Topic] = {}
        self.places: dict[tuple[Topic, int], Place] = {}
        self._lock = threading.Lock()  # `with` takes this, not the condition: see storage.arrivals
        self._changed = threading.Condition(self._lock)
        self._callbacks: list[Callable[[], None]] = []
        self.on_done = self._tell

    def move(self, part: int, successor: Successor) -> bool:
        """As ``send``, which sends again; here the records are queued, and keep their order."""
        log, accumulator = self.parts[part]
        found = successor(log, self.topics[log.id.topic].partition_count)
        if found is None:
            return False
        self.parts[part] = (found, accumulator)
        return True

    def wait(self, timeout: float | None) -> bool:
        with self._lock:
            return self._changed.wait_for(lambda: self.done, timeout)

    def call_when_done(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if not self.done:
                self._callbacks.append(callback)
                return
        callback()

    def note_asked(self, record: tuple[int, int]) -> None:
        """Somebody was told that this record was refused."""
        with self._lock:
            is_first = record not in self._asked
            self._asked.add(record)
        if is_first:
            self.owner._refusals.note_asked()

    def _tell(self, _: CommitRequest) -> None:
        if self.error is not None:
            self.owner._refusals.note(self.count, self.error)
        with self._lock:
            self._changed.notify_all()
            callbacks, self._callbacks = self._callbacks, []
        self.on_done = None  # else request and method would keep each other alive
        for callback in callbacks:
            callback()
        self.owner._delivered(self)
