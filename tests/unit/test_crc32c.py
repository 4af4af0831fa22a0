"""CRC-32C: the vectors of RFC 3720, then both engines against a bit-by-bit definition."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql._core import crc32c

Checksum = Callable[..., int]

either_checksum = pytest.mark.parametrize("checksum", [crc32c.crc32c, crc32c.portable_crc32c])

# RFC 3720, appendix B.4, and the check value every catalogue of CRCs gives.
VECTORS = [
    (b"", 0x00000000),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (
        bytes.fromhex(
            "01c00000000000000000000000000000140000000000040000000014"
            "0000001828000000000000000200000000000000"
        ),
        0xD9963A56,
    ),
]

# Around the stretches that are read three at a time: 3 * 64, 3 * 256 and 3 * 1024 bytes.
CORNER_SIZES = [
    *range(20),
    *(3 * stretch + delta for stretch in (64, 256, 1024) for delta in (-1, 0, 1, 7, 8)),
    3 * (1024 + 256 + 64),
    2 * 3 * 1024 + 3 * 256 + 13,
]


def oracle(data: bytes | memoryview, crc: int = 0) -> int:
    """The definition: divide by the polynomial, a bit at a time."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def pattern(size: int) -> bytes:
    """Bytes that repeat only after 251, which divides no stretch."""
    return bytes(index % 251 * 7 & 255 for index in range(size))


@either_checksum
@pytest.mark.parametrize(("data", "crc"), VECTORS)
def test_published_vector(checksum: Checksum, data: bytes, crc: int) -> None:
    assert checksum(data) == crc


@either_checksum
@pytest.mark.parametrize("size", CORNER_SIZES)
def test_corner_size(checksum: Checksum, size: int) -> None:
    data = pattern(size)
    assert checksum(data) == oracle(data)


@given(data=st.binary(max_size=300), crc=st.integers(0, 0xFFFFFFFF))
def test_any_bytes_from_any_start(data: bytes, crc: int) -> None:
    expected = oracle(data, crc)
    assert crc32c.crc32c(data, crc) == expected
    assert crc32c.portable_crc32c(data, crc) == expected


@given(
    seed=st.binary(min_size=1, max_size=64),
    size=st.integers(0, 20_000),
    shift=st.integers(0, 15),
    split=st.floats(0, 1),
)
def test_fast_is_portable_at_any_alignment_and_split(
    seed: bytes, size: int, shift: int, split: float
) -> None:
    # Large inputs: the oracle would be slow, and the portable engine has been judged by it above.
    data = memoryview((seed * (size // len(seed) + shift + 1))[: size + shift])[shift:]
    middle = int(split * len(data))
    whole = crc32c.portable_crc32c(data)
    assert crc32c.crc32c(data) == whole
    assert crc32c.crc32c(data[middle:], crc32c.crc32c(data[:middle])) == whole


@either_checksum
@pytest.mark.parametrize("position", [0, 1023, 1024, 2047, 2048, 3071, 3072, 4095])
def test_one_flipped_bit_is_seen(checksum: Checksum, position: int) -> None:
    data = bytearray(4096)
    clean = checksum(data)
    data[position] ^= 1
    assert checksum(data) != clean


@either_checksum
def test_any_contiguous_buffer(checksum: Checksum) -> None:
    for data in (b"123456789", bytearray(b"123456789"), memoryview(b"x123456789x")[1:10]):
        assert checksum(data) == 0xE3069283


@either_checksum
def test_start_by_name(checksum: Checksum) -> None:
    assert checksum(b"6789", crc=checksum(b"12345")) == 0xE3069283


@either_checksum
@pytest.mark.parametrize("crc", [-1, 1 << 32])
def test_a_start_beyond_32_bits_is_refused(checksum: Checksum, crc: int) -> None:
    with pytest.raises(OverflowError):
        checksum(b"", crc)


@either_checksum
def test_what_is_no_contiguous_buffer_is_refused(checksum: Checksum) -> None:
    with pytest.raises(TypeError):
        checksum("text")
    with pytest.raises(BufferError):
        checksum(memoryview(bytes(16))[::2])


def test_backend_is_named() -> None:
    assert crc32c.backend() in {"sse4.2", "armv8", "portable"}
