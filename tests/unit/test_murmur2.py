"""murmur2: Kafka's published vectors, and the partition made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql._core.murmur2 import murmur2, partition_for_key

# The first six are those of Kafka's own UtilsTest.testMurmur2.
VECTORS = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
    (b"1", -1993445489),
    (b"123", -267702483),
    (b"1234", -1614185708),
    (b"12345", -1188365604),
    (b"", 275646681),
]


@pytest.mark.parametrize(("key", "expected"), VECTORS)
def test_published_vectors(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected


@pytest.mark.parametrize(("key", "expected"), VECTORS)
def test_partition_is_the_positive_hash_modulo_the_count(key: bytes, expected: int) -> None:
    for count in (1, 2, 3, 7, 8, 1000):
        assert partition_for_key(key, count) == (expected & 0x7FFFFFFF) % count


@given(st.binary(), st.integers(1, 1 << 31))
def test_partition_is_one_of_them(key: bytes, count: int) -> None:
    assert 0 <= partition_for_key(key, count) < count


@pytest.mark.parametrize("count", [0, -1])
def test_no_partitions(count: int) -> None:
    with pytest.raises(ValueError, match="count"):
        partition_for_key(b"key", count)


def test_a_key_is_bytes() -> None:
    with pytest.raises(TypeError):
        murmur2("key")  # type: ignore[arg-type]
