"""How long the writer role is kept between the writes of one process while others wait for it.

Between two writes of a thread nobody here has the lead. A thread that writes without a pause is
back in less time than a hand-over takes, and the role is kept for it; one that pauses, or is gone,
must not keep the others waiting.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from merkql.storage.role import WriterRole

SOON_S = 0.0005  # a hand-over takes half of it: who pauses for longer hardly loses by one
REST_S = 0.001  # for so long the role waits for who came back soon before


class Stay:
    """Tells the leader whether to keep the role; by whoever holds the lock of the queue."""

    def __init__(self, role: WriterRole) -> None:
        self._role = role
        self._left_at = 0.0
        self._comes_back_soon = False
        self.watched = False  # by the background thread, which ends the stay

    def begin_write(self) -> None:
        """A thread wants to write, and nobody has the lead."""
        self._comes_back_soon = time.monotonic() - self._left_at < SOON_S

    def end_write(self) -> bool:
        """Nobody has anything to write at the moment: whether the role is kept all the same."""
        self._left_at = time.monotonic()
        return self._comes_back_soon and self._role.keeps

    def is_over(self) -> bool:
        """Whether nobody came back."""
        return time.monotonic() - self._left_at >= REST_S
