"""Partitioners: Kafka's rule and that of the Rust merkql."""

from __future__ import annotations

import pytest

from merkql import partitioners

# Key, and its partition of 2, 3, 4 and 8, as the Rust merkql gives them.
SHA256_VECTORS = [
    (b"user-42", (1, 0, 3, 3)),
    (b"sensor-a", (1, 1, 1, 5)),
    (b"a", (0, 2, 2, 2)),
    (b"b", (0, 0, 2, 6)),
    (b"c", (1, 2, 3, 3)),
    (b"d", (1, 1, 3, 3)),
    (b"e", (1, 2, 3, 3)),
    (b"cart-1", (0, 0, 0, 0)),
    (b"cart-2", (0, 0, 2, 2)),
    (b"cart-3", (1, 1, 1, 5)),
    (b"", (0, 2, 2, 2)),
]


@pytest.mark.parametrize(("key", "expected"), SHA256_VECTORS)
def test_sha256_is_that_of_the_rust_merkql(key: bytes, expected: tuple[int, ...]) -> None:
    assert tuple(partitioners.sha256(key, count) for count in (2, 3, 4, 8)) == expected


def test_murmur2_is_that_of_kafka() -> None:
    hashed = -973932308 & 0x7FFFFFFF
    assert [partitioners.murmur2(b"21", count) for count in (1, 2, 10)] == [
        0,
        hashed % 2,
        hashed % 10,
    ]


@pytest.mark.parametrize("partitioner", [partitioners.murmur2, partitioners.sha256])
def test_no_partitions(partitioner: partitioners.Partitioner) -> None:
    with pytest.raises(ValueError, match="count"):
        partitioner(b"key", 0)
