"""Wakes waiting consumers when records, topics or partitions become visible.

``Arrivals`` within one process; ``WatchedArrivals`` also when another process wrote.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable

from merkql.storage.file_watch import FileWatch, open_watch

LOOK_INTERVAL_MIN_S = 0.0001  # where the kernel does not report writes: right after news
FINE_LOOKS_S = 0.001  # so long after news
LOOK_SHARE = 170  # polling may take one part in so many of the time
LOOK_INTERVAL_MAX_S = 0.1
WATCHED_INTERVAL_S = 1.0  # between checks where the kernel does report writes

_all: weakref.WeakSet[Arrivals] = weakref.WeakSet()


class Arrivals:
    """A counter of visible changes that threads can wait on; costs a writer next to nothing."""

    def __init__(self) -> None:
        self.version = 0
        self.topics_version = 0  # incremented when topics or partitions change
        self._make_locks()
        _all.add(self)

    def _make_locks(self) -> None:
        # Taken by `with self._lock`, never `with self._changed`: that one enters in Python, and a
        # Ctrl-C between the lock and the block would leave it locked for ever.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0

    def announce(self) -> None:
        """Count a change and wake every waiter."""
        with self._lock:
            self.version += 1
            self._wake_all()

    def announce_topics(self) -> None:
        """Count a change of topics or partitions."""
        self.topics_version += 1
        self.announce()

    def wake(self) -> None:
        """Wake every waiter to check again: on close, on an interruption."""
        self.announce()

    def wait(self, version: int, timeout: float | None) -> int:
        """Block until the counter has left ``version`` or ``timeout`` seconds passed.

        Returns the counter as it is then.
        """
        with self._lock:
            self._wait_for(lambda: self.version != version, timeout)
            return self.version

    def note_topics(self) -> None:
        """Another process changed topics or partitions; the caller wakes the waiters."""
        self.topics_version += 1

    def follow_anew(self) -> None:
        """Watch a new set of files for changes."""

    def close(self) -> None:
        """Release system resources; from now on a wait ends with its timeout."""

    def _wake_all(self) -> None:
        """For a holder of the lock."""
        if self._waiting:
            self._changed.notify_all()

    def _wait_for(self, condition: Callable[[], bool], timeout: float | None) -> None:
        self._waiting += 1
        try:
            self._changed.wait_for(condition, timeout)
        finally:
            self._waiting -= 1

    def _start_anew(self) -> None:
        """In a forked child: nobody waits here, whoever held the locks in the parent."""
        self._make_locks()


class WatchedArrivals(Arrivals):
    """For directories that other processes write too: one waiter watches the files for all.

    ``paths`` returns the files that are written whenever something becomes visible. ``has_news``
    returns whether something did since its last call; one thread at a time calls it, after such a
    write, or periodically where the kernel does not report writes.
    """

    def __init__(self, paths: Callable[[], Iterable[str]], has_news: Callable[[], bool]) -> None:
        self._watcher: object = None  # the waiter that watches now
        self._watch: FileWatch | None = None
        self._paths = paths
        self._followed = False  # the watch knows the paths
        self._closed = False
        self._has_news = has_news
        self._pace = _Pace()
        super().__init__()
        self._finalizer: weakref.finalize[..., WatchedArrivals] | None = None

    def follow_anew(self) -> None:
        with self._lock:
            self._followed = False
            self._wake_all()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._wake_all()
            if self._watcher is None:
                self._close_watch()  # else the watcher does it

    def wait(self, version: int, timeout: float | None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        me = object()
        try:
            while self.version == version:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                with self._lock:
                    if self._closed:
                        self._step_down(me)
                    elif self._watcher is None:
                        self._watcher = me
                    if self._watcher is not me:
                        self._wait_for(lambda: self._may_go_on(version), left)
                        continue
                self._look_for_news(version, left)
        finally:
            with self._lock:
                self._step_down(me)
                if self._watcher is None and self._waiting:
                    self._changed.notify()  # one of the others takes over
        return self.version

    def _step_down(self, me: object) -> None:
        """Stop watching, if we are the watcher; for a holder of the lock."""
        if self._watcher is me:
            self._watcher = None
            if self._closed:
                self._close_watch()

    def _may_go_on(self, version: int) -> bool:
        return self.version != version or (self._watcher is None and not self._closed)

    def _look_for_news(self, version: int, timeout: float | None) -> None:
        """As the watcher: wait once, then check for news where there may be some."""
        watch = self._opened_watch()
        if not self._followed:
            self._followed = True  # first: what changes meanwhile is followed the next time
            watch.follow(self._paths())
            if self._ask(watch):
                return
        interval = WATCHED_INTERVAL_S if watch.is_complete else self._pace.interval()
        with self._lock:
            if self.version != version or self._closed or not self._followed:
                return  # from here on `wake` is not missed
        begin = time.thread_time()
        written = watch.wait(interval if timeout is None else min(interval, timeout))
        if written or not watch.is_complete or self._pace.is_due(WATCHED_INTERVAL_S):
            self._ask(watch)
            self._pace.note_cost(time.thread_time() - begin)

    def _ask(self, watch: FileWatch) -> bool:
        """Check for news and announce it; not once closed."""
        if self._closed:
            return False
        news = self._has_news()
        self._pace.note_look(news=news)
        if not watch.is_complete and self._pace.is_time_to_retry():
            self._followed = False
        if news:
            self.announce()
        return news

    def _opened_watch(self) -> FileWatch:
        if self._watch is None:
            self._watch, self._followed = open_watch(), False
            self._finalizer = weakref.finalize(self, _close_for_process, self._watch, os.getpid())
            self._finalizer.atexit = False  # the kernel does it
        return self._watch

    def _close_watch(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._watch = None

    def _wake_all(self) -> None:
        super()._wake_all()
        if self._watcher is not None and self._watch is not None:
            self._watch.wake()

    def _start_anew(self) -> None:
        super()._start_anew()
        self._watcher = None
        if self._watch is not None:
            if self._finalizer is not None:
                self._finalizer.detach()
            self._watch.forget()
            self._watch = None


class _Pace:
    """How often to poll where the kernel does not report writes: often after news, then less."""

    def __init__(self) -> None:
        self._news_at = self._asked_at = self._retried_at = -1.0
        self._cost_s = 0.0

    def note_look(self, *, news: bool) -> None:
        """A check was made."""
        self._asked_at = time.monotonic()
        if news:
            self._news_at = self._asked_at

    def note_cost(self, seconds: float) -> None:
        """Record the CPU seconds that one check and its wake-up cost."""
        self._cost_s += (seconds - self._cost_s) / 8

    def interval(self) -> float:
        """Seconds until the next check."""
        age = time.monotonic() - self._news_at
        if age < FINE_LOOKS_S:
            return LOOK_INTERVAL_MIN_S
        return min(self._cost_s * LOOK_SHARE, age / 8, LOOK_INTERVAL_MAX_S)

    def is_due(self, interval: float) -> bool:
        """Whether no check was made for that long."""
        return time.monotonic() - self._asked_at >= interval

    def is_time_to_retry(self) -> bool:
        """Whether to try again to watch what could not be watched: once a second."""
        now = time.monotonic()
        if now - self._retried_at < WATCHED_INTERVAL_S:
            return False
        self._retried_at = now
        return True


def _close_for_process(watch: FileWatch, process: int) -> None:
    """Close, unless this is a forked child of the process that opened it."""
    if os.getpid() == process:
        watch.close()


def _start_anew_in_child() -> None:
    for arrivals in list(_all):
        arrivals._start_anew()


os.register_at_fork(after_in_child=_start_anew_in_child)
