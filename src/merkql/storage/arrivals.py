"""Tells waiting consumers that something became visible: records, topics, partitions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Arrivals:
    """A counter of visible changes that can be waited for; costs a writer next to nothing."""

    def __init__(self) -> None:
        self.version = 0
        self.topics_version = 0  # goes up with topics and partitions alone
        # Taken by `with self._lock`, never `with self._changed`: that one enters in Python, and a
        # Ctrl-C between the lock and the block would leave it locked for ever.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0

    def announce(self) -> None:
        """Say that something changed; wakes everyone who waits."""
        with self._lock:
            self.version += 1
            if self._waiting:
                self._changed.notify_all()

    def announce_topics(self) -> None:
        """Say that topics or partitions came or went."""
        self.topics_version += 1
        self.announce()

    def wake(self) -> None:
        """Wake everyone who waits, to look again: a close, an interruption."""
        self.announce()

    def wait(self, version: int, timeout: float | None) -> int:
        """Block until the counter has left ``version`` or ``timeout`` seconds passed.

        Returns the counter as it is then.
        """
        with self._lock:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: self.version != version, timeout)
            finally:
                self._waiting -= 1
            return self.version


POLL_INTERVAL_S = 0.002  # while something came lately
POLL_INTERVAL_IDLE_S = 0.01
IDLE_AFTER_S = 0.5


class PolledArrivals(Arrivals):
    """For a process that only reads: looks every few milliseconds what the writer has done."""

    def __init__(self, has_news: Callable[[], bool]) -> None:
        super().__init__()
        self._has_news = has_news
        self._last_news = time.monotonic()

    def wait(self, version: int, timeout: float | None) -> int:
        now = time.monotonic()
        deadline = None if timeout is None else now + timeout
        while self.version == version:
            if self._has_news():
                self.announce()
                self._last_news = time.monotonic()
                break
            now = time.monotonic()
            idle = now - self._last_news > IDLE_AFTER_S
            left = POLL_INTERVAL_IDLE_S if idle else POLL_INTERVAL_S
            if deadline is not None:
                left = min(left, deadline - now)
                if left <= 0:
                    break
            super().wait(version, left)
        return self.version
