"""Which partition a key goes to.

A partitioner is any callable of a key and a partition count that returns a partition; it must give
one key the same partition for ever. Records without a key never reach one: the producer deals them
out in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from merkql._core.murmur2 import partition_for_key

__all__ = ["Partitioner", "murmur2", "sha256"]

Partitioner: TypeAlias = Callable[[bytes, int], int]


def murmur2(key: bytes, count: int) -> int:
    """Return the partition Kafka's Java, Python and Go clients give `key`: the default.

    Raises ValueError when `count` is less than 1.
    """
    return partition_for_key(key, count)


def sha256(key: bytes, count: int) -> int:
    """Return the partition the Rust merkql gives `key`: of its SHA-256, the first four bytes.

    Raises ValueError when `count` is less than 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    import hashlib  # dear to import (OpenSSL), and needed here alone

    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big") % count
