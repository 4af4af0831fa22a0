"""Ctrl-C ends an example in one line whenever it comes, from this import on: import it first."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NAME = os.path.basename(sys.argv[0])
STOPPED = f"\n{NAME}: stopped; what was acknowledged is kept\n"


def end_at_once(number: int, frame: FrameType | None) -> None:
    """For as long as modules are imported: nothing is begun, so nothing has to be closed."""
    os.write(2, STOPPED.encode())
    os._exit(130)


def end_in_order(number: int, frame: FrameType | None) -> None:
    """From then on: the first Ctrl-C ends the program, the ones after it do not disturb that."""
    end()
    raise KeyboardInterrupt


def ignore(number: int, frame: FrameType | None) -> None:
    """Better than SIG_IGN, of which Python complains when a signal was on its way already."""


def begin() -> None:
    """The imports are done. What ignores Ctrl-C from birth (under nohup, say) goes on to do so."""
    if signal.getsignal(signal.SIGINT) is end_at_once:
        signal.signal(signal.SIGINT, end_in_order)


def end() -> None:
    """The work is done, or given up: what is left to do is quick, and is not to be disturbed."""
    if signal.getsignal(signal.SIGINT) is end_in_order:
        signal.signal(signal.SIGINT, ignore)


@contextmanager
def held() -> Iterator[None]:
    """Ctrl-C waits till the end of the block. Processes that start in it never get one.

    They inherit the mask of this thread. The handler changes too, because the signal may come to
    another thread of ours, and Python would raise it in this one all the same.
    """
    received: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is end_in_order:
        signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
        if received:
            end_in_order(signal.SIGINT, None)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end_at_once)
