"""How long the writer role is kept between two writes while other processes wait for it.

Between two writes of one thread this process has no leader. A thread that writes without a pause is
back sooner than a hand-over takes, so the role is kept for it (as an I/O scheduler idles for the
next request of a process); one that pauses, or is gone, must not keep the others waiting.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from merkql.storage.role import WriterRole

SOON_S = 0.0005  # a hand-over takes half of it, so a thread that pauses longer loses little by one
LINGER_S = 0.001  # how long the role is kept for a thread that came back soon the last time


class RoleLinger:
    """Tells the leader whether to keep the role; every call holds the commit queue's lock."""

    def __init__(self, role: WriterRole) -> None:
        self._role = role
        self._left_at = 0.0
        self._comes_back_soon = False
        self.watched = False  # the background thread is going to end it

    def begin_write(self) -> None:
        """A thread begins a write while there is no leader."""
        self._comes_back_soon = time.monotonic() - self._left_at < SOON_S

    def end_write(self) -> bool:
        """The queue is empty: whether the role is kept all the same."""
        self._left_at = time.monotonic()
        return self._comes_back_soon and self._role.keeps

    def is_over(self) -> bool:
        """Whether the role was kept long enough and no thread came back."""
        return time.monotonic() - self._left_at >= LINGER_S
