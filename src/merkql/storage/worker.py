"""A background thread of the broker, started at most once, when there is work."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable


class Worker:
    """Runs ``work`` in one daemon thread.

    A Ctrl-C inside ``Thread.start`` leaves unknown whether the thread runs. So an interrupted
    ``start`` may be called again; if that makes two threads, one of them returns at once.
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
        """Whether the thread is running ``work``, or was a moment ago."""
        return self._working.locked()

    def start(self) -> None:
        """Start the work, if it has not started."""
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
        """Wait until the work, which the caller told to end, has ended; it never starts again.

        ``timeout``: in seconds; by default there is none.
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
