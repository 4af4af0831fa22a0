"""A thread of the broker's own, started when there is work and at most once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable


class Worker:
    """Runs ``work`` in one daemon thread.

    A Ctrl-C may strike inside ``Thread.start``, and nobody can tell then whether the thread runs:
    a call of ``start`` that was struck is made again, and of two threads one returns at once.
    """

    def __init__(
        self, name: str, work: Callable[[], None], on_thread: Callable[[threading.Thread], None]
    ) -> None:
        self._name = name
        self._work = work
        self._on_thread = on_thread
        self._working = threading.Lock()  # held by the thread while it works
        self._started = False
        self._ended = False
        self._thread = 0

    @property
    def works(self) -> bool:
        """Whether the thread is at work, or was a moment ago."""
        return self._working.locked()

    def start(self) -> None:
        """Have the work begin, if it has not."""
        if self._started:
            return
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._on_thread(thread)
        self._started = True
        try:
            thread.start()
        except BaseException as error:
            self._started = False
            struck = error.__context__  # Thread.start stumbles over its own lock after a Ctrl-C
            raise struck if isinstance(struck, KeyboardInterrupt) else error from None

    def join(self, timeout: float = -1) -> None:
        """Wait until the work, told to end by the caller, has ended; it never begins after.

        ``timeout``: for so many seconds; by default as long as it takes.
        """
        if self._thread == threading.get_ident() or sys.is_finalizing():
            return  # at the end of the program its thread stands still for ever
        if self._working.acquire(timeout=timeout):
            self._ended = True
            self._working.release()

    def _run(self) -> None:
        if not self._working.acquire(blocking=False):
            return
        self._thread = threading.get_ident()
        try:
            if not self._ended:
                self._work()
                self._ended = True
        except BaseException:
            self._started = False  # memory ran out: the next start begins another
            raise
        finally:
            self._working.release()
