"""Varints: the bytes of Kafka's, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql._core.varint import decode_varint, decode_varlong, encode_varint
from support import naive_batch

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
# Values at which another byte is needed, and their neighbours.
EDGES = sorted({s * (1 << 7 * n - 1) + d for n in range(1, 10) for s in (1, -1) for d in (-1, 0)})

VECTORS = [
    (0, "00"),
    (-1, "01"),
    (1, "02"),
    (63, "7e"),
    (-64, "7f"),
    (64, "8001"),
    (-65, "8101"),
    (8191, "fe7f"),
    (8192, "808001"),
    (2**31 - 1, "feffffff0f"),
    (-(2**31), "ffffffff0f"),
    (2**63 - 1, "feffffffffffffffff01"),
    (-(2**63), "ffffffffffffffffff01"),
]


@pytest.mark.parametrize(("value", "encoded"), VECTORS)
def test_published_bytes(value: int, encoded: str) -> None:
    assert encode_varint(value).hex() == encoded
    assert decode_varlong(bytes.fromhex(encoded)) == (value, len(encoded) // 2)


@pytest.mark.parametrize("value", EDGES)
def test_edges(value: int) -> None:
    encoded = encode_varint(value)
    assert encoded == naive_batch.varint(value)
    assert decode_varlong(encoded) == (value, len(encoded))


@given(INT64, st.binary(max_size=3), st.binary(max_size=3))
def test_varlong_round_trip(value: int, before: bytes, after: bytes) -> None:
    encoded = encode_varint(value)
    assert encoded == naive_batch.varint(value)
    end = len(before) + len(encoded)
    assert decode_varlong(before + encoded + after, len(before)) == (value, end)


@given(INT32)
def test_varint_round_trip(value: int) -> None:
    encoded = encode_varint(value)
    assert len(encoded) <= 5
    assert decode_varint(encoded) == (value, len(encoded))


@given(INT64)
def test_cut_anywhere_is_not_a_varint(value: int) -> None:
    encoded = encode_varint(value)
    for size in range(len(encoded)):
        with pytest.raises(ValueError):
            decode_varlong(encoded[:size])
        with pytest.raises(ValueError):
            decode_varint(encoded[:size])


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**40, 2**63 - 1])
def test_varint_beyond_32_bits_is_refused(value: int) -> None:
    with pytest.raises(ValueError):
        decode_varint(encode_varint(value))


@pytest.mark.parametrize(
    "data", [b"\x80" * 10 + b"\x00", b"\xff" * 9 + b"\x02", b"\xff" * 20, b"\x80" * 11]
)
def test_varlong_beyond_64_bits_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_varlong(data)


def test_a_longer_form_is_read_as_java_reads_it() -> None:
    assert decode_varint(b"\x82\x80\x00") == (1, 3)


@pytest.mark.parametrize("position", [-1, 3])
def test_position_outside_the_data(position: int) -> None:
    with pytest.raises(ValueError):
        decode_varint(b"\x00\x00", position)


@given(st.binary(max_size=12))
def test_any_bytes_are_a_varint_or_refused(data: bytes) -> None:
    for decode in (decode_varint, decode_varlong):
        try:
            value, end = decode(data)
        except ValueError:
            continue
        assert -(2**63) <= value < 2**63
        assert 0 < end <= len(data)
