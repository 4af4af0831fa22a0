"""Admits one thread at a time to an object; a second one gets an error instead of waiting."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from merkql.errors import ClosedError


class ThreadGuard:
    """A context for each call; raises ``RuntimeError`` while another thread is in one.

    The same thread may enter again (a callback that commits). ``check``, a method, runs on every
    entry.
    """

    def __init__(self, what: str, check: Callable[[], None]) -> None:
        self._what = what
        self._check = weakref.WeakMethod(check)  # the guard must not keep its object alive
        self._lock = threading.RLock()
        self.closing = False  # being closed: threads that enter now get ClosedError

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            if self.closing:
                raise ClosedError(f"{self._what} is closed")
            self._run_check()  # in a forked child the other thread does not exist
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
        """Enter without the check, once the thread inside has left."""
        with self._lock:
            yield
