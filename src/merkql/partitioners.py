"""Partitioners: which partition a key goes to.

A partitioner is any callable of a key and a partition count that returns a partition; it must
always return the same one for a key. Records without a key never reach it: the producer spreads
them round robin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from merkql._core.murmur2 import partition_for_key

__all__ = ["Partitioner", "murmur2", "sha256"]

Partitioner: TypeAlias = Callable[[bytes, int], int]


def murmur2(key: bytes, count: int) -> int:
    """The partition that Kafka's Java, Python and Go clients choose for ``key``: the default.

    Raises ``ValueError`` if ``count`` is less than 1.
    """
    return partition_for_key(key, count)


def sha256(key: bytes, count: int) -> int:
    """The partition that the Rust merkql chooses for ``key``: by its SHA-256's first 4 bytes.

    Raises ``ValueError`` if ``count`` is less than 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    import hashlib  # slow to import (OpenSSL) and needed only here

    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big") % count
