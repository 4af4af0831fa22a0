"""The merkle tree of RFC 9162 §2.1 as its definitions read: recursive, with hashlib alone.

An oracle: it shares no code with merkql. Subtrees (start, end) are those of
draft-ietf-plants-merkle-tree-certs; with start = 0 they are the RFC's own proofs.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

EMPTY = hashlib.sha256(b"").digest()


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


@lru_cache(maxsize=1 << 18)
def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(count: int) -> int:
    """The largest power of two strictly below `count`."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power


class NaiveTree:
    """Roots and proofs over a list of leaf hashes; remembers the subtrees it has computed."""

    def __init__(self, leaf_hashes: list[bytes]) -> None:
        self.leaves = leaf_hashes
        self._roots: dict[tuple[int, int], bytes] = {}

    def root(self, start: int, end: int) -> bytes:
        if end == start:
            return EMPTY
        if end == start + 1:
            return self.leaves[start]
        if (start, end) not in self._roots:
            middle = start + split(end - start)
            self._roots[start, end] = node(self.root(start, middle), self.root(middle, end))
        return self._roots[start, end]

    def inclusion(self, index: int, start: int, end: int) -> list[bytes]:
        if end == start + 1:
            return []
        middle = start + split(end - start)
        if index < middle:
            return [*self.inclusion(index, start, middle), self.root(middle, end)]
        return [*self.inclusion(index, middle, end), self.root(start, middle)]

    def consistency(self, start: int, end: int, size: int) -> list[bytes]:
        """From the subtree [start, end) to the tree of `size` leaves."""
        return [] if start == end else self._consistency(start, end, 0, size, known=True)

    def _consistency(
        self, start: int, end: int, low: int, high: int, *, known: bool
    ) -> list[bytes]:
        if (start, end) == (low, high):
            return [] if known else [self.root(low, high)]
        middle = low + split(high - low)
        if end <= middle:
            below = self._consistency(start, end, low, middle, known=known)
            return [*below, self.root(middle, high)]
        if start >= middle:
            below = self._consistency(start, end, middle, high, known=known)
        else:
            below = self._consistency(middle, end, middle, high, known=False)
        return [*below, self.root(low, middle)]


def is_subtree(start: int, end: int) -> bool:
    """Whether [start, end) is a subtree that proofs are about."""
    power = 1
    while power < end - start:
        power *= 2
    return start <= end and start % power == 0
