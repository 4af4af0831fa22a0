"""Lets one thread at a time into an object, and tells the second one so instead of waiting."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from merkql.errors import ClosedError


class ThreadGuard:
    """A context for each call: ``RuntimeError`` while another thread is in one.

    The same thread may enter again (a callback that commits). ``check``, a method, runs on every
    entry.
    """

    def __init__(self, what: str, check: Callable[[], None]) -> None:
        self._what = what
        self._check = weakref.WeakMethod(check)  # a guard does not keep what it guards alive
        self._lock = threading.RLock()
        self.closing = False  # another thread ends it: who comes now is told that

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            if self.closing:
                raise ClosedError(f"{self._what} is closed")
            self._run_check()  # in a forked child that other thread is not there
            raise RuntimeError(
                f"{self._what} is in use by another thread; give each thread its own "
                "(close and wakeup may be called from any)"
            )
        try:
            self._run_check()
        except BaseException:
            self._lock.release()
            raise

    def _run_check(self) -> None:
        check = self._check()
        if check is not None:
            check()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Enter unchecked, after whoever is inside now has left."""
        with self._lock:
            yield
