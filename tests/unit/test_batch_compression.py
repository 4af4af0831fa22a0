"""Decompression: each codec opened, bounded, and never more than one whole stream."""

from __future__ import annotations

import gzip
import importlib.util
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import lz4.frame
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from merkql._core.batch_compression import DecompressionError, decompress
from merkql._core.record_batch import BatchError, decode, leaf_hashes
from support import naive_batch
from support.naive_batch import CODECS, NaiveBatch, NaiveRecord

LIMIT = 1 << 20
RECORDS = [NaiveRecord(b"k", b"value" * 20, (), index) for index in range(20)]


def snappy_literal(data: bytes) -> bytes:
    """A snappy block that says everything literally, 60 bytes at a time."""
    size, bits = bytearray(), len(data)
    while bits > 0x7F:
        size.append(bits & 0x7F | 0x80)
        bits >>= 7
    size.append(bits)
    pieces = [data[start : start + 60] for start in range(0, len(data), 60)]
    return bytes(size) + b"".join(bytes([(len(p) - 1) << 2]) + p for p in pieces)


def xerial(data: bytes) -> bytes:
    blocks = [snappy_literal(data[start : start + 100]) for start in range(0, len(data), 100)]
    framed = b"".join(struct.pack(">i", len(block)) + block for block in blocks)
    return b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + framed


def zstd_raw(data: bytes) -> bytes:
    """A zstd frame of one raw block: magic, descriptor, window, block header."""
    return b"\x28\xb5\x2f\xfd\x00\x48" + struct.pack("<I", len(data) << 3 | 1)[:3] + data


def lz4_linked(data: bytes) -> bytes:
    compressed: bytes = lz4.frame.compress(data, block_linked=True)
    return compressed


def lz4_java(data: bytes) -> bytes:
    """As Java writes it: no content size."""
    compressed: bytes = lz4.frame.compress(data, block_linked=False, store_size=False)
    return compressed


def lz4_aiokafka(data: bytes) -> bytes:
    compressed: bytes = lz4.frame.compress(data, block_linked=False, block_checksum=True)
    return compressed


def installed(*names: str) -> bool:
    def found(name: str) -> bool:
        try:
            return importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            return False

    return any(map(found, names))


needs_snappy = pytest.mark.skipif(not installed("cramjam", "snappy"), reason="no snappy")
needs_zstd = pytest.mark.skipif(
    not installed("compression.zstd", "backports.zstd", "zstandard"), reason="no zstd"
)
Compress = Callable[[bytes], bytes]
CASES = [
    pytest.param("gzip", gzip.compress, id="gzip"),
    pytest.param("lz4", lz4_linked, id="lz4 linked"),
    pytest.param("lz4", lz4_java, id="lz4 as Java"),
    pytest.param("lz4", lz4_aiokafka, id="lz4 as aiokafka"),
    pytest.param("snappy", snappy_literal, id="snappy bare", marks=needs_snappy),
    pytest.param("snappy", xerial, id="snappy xerial", marks=needs_snappy),
    pytest.param("zstd", zstd_raw, id="zstd", marks=needs_zstd),
]


@pytest.mark.parametrize(("codec", "compress"), CASES)
def test_opened_in_a_batch(codec: str, compress: Compress) -> None:
    batch = NaiveBatch(0, RECORDS, CODECS[codec])
    data = batch.encode(compress(batch.record_bytes()))
    result = decode(data, "t", 0, first_offset=0, stop_offset=100, max_records=100)
    assert [record.value for record in result.records] == [record.value for record in RECORDS]
    assert leaf_hashes(data) == naive_batch.leaf_hashes(RECORDS, 0)


@pytest.mark.parametrize(("codec", "compress"), CASES)
def test_limit(codec: str, compress: Compress) -> None:
    compressed = memoryview(compress(bytes(1000)))
    assert decompress(CODECS[codec], compressed, 1000) == bytes(1000)
    for limit in (999, 1, 0):
        with pytest.raises(DecompressionError, match=r"larger|more"):
            decompress(CODECS[codec], compressed, limit)


@pytest.mark.parametrize(("codec", "compress"), CASES)
def test_limit_in_a_batch(codec: str, compress: Compress) -> None:
    batch = NaiveBatch(0, RECORDS, CODECS[codec])
    data = batch.encode(compress(batch.record_bytes()))
    with pytest.raises(BatchError, match="bytes when decompressed"):
        leaf_hashes(data, decompressed_size_max=100)
    with pytest.raises(BatchError, match="bytes when decompressed"):
        decode(
            data,
            "t",
            0,
            first_offset=0,
            stop_offset=9,
            max_records=9,
            decompressed_size_max=100,
        )


@pytest.mark.parametrize(("codec", "compress"), CASES)
def test_cut_or_followed(codec: str, compress: Compress) -> None:
    whole = compress(bytes(range(200)) * 2)
    for size in range(len(whole)):
        cut = memoryview(whole)[:size]
        try:
            opened = decompress(CODECS[codec], cut, LIMIT)
        except DecompressionError:
            continue
        assert len(opened) < 400, "a shorter stream may be a stream; the records then run out"


@pytest.mark.parametrize("codec", ["gzip", "lz4"])
def test_two_streams_are_refused(codec: str) -> None:
    compress = gzip.compress if codec == "gzip" else lz4_java
    with pytest.raises(DecompressionError, match="follow the stream"):
        decompress(CODECS[codec], memoryview(compress(b"a") + compress(b"b")), LIMIT)


def test_a_bomb_is_stopped_early() -> None:
    bomb = zlib.compressobj(9, wbits=31)
    data = bomb.compress(bytes(32 << 20)) + bomb.flush()
    assert len(data) < 40_000
    with pytest.raises(DecompressionError, match="larger"):
        decompress(CODECS["gzip"], memoryview(data), LIMIT)
    with pytest.raises(DecompressionError, match="larger"):
        decompress(CODECS["lz4"], memoryview(lz4_java(bytes(32 << 20))), LIMIT)


def test_an_lz4_frame_that_lies_about_its_size() -> None:
    frame = bytearray(lz4.frame.compress(b"abc" * 50, block_linked=False, store_size=True))
    frame[6:14] = struct.pack("<Q", 1 << 60)
    with pytest.raises(DecompressionError):
        decompress(CODECS["lz4"], memoryview(frame), LIMIT)


def test_an_lz4_frame_that_claims_less_than_it_holds_sets_no_more_aside() -> None:
    frame = bytearray(lz4.frame.compress(bytes(64 << 20), block_linked=False, store_size=True))
    frame[6:14] = struct.pack("<Q", 100)
    frame[14] = xxhash.xxh32_intdigest(bytes(frame[4:14])) >> 8 & 0xFF
    tracemalloc.start()
    try:
        with pytest.raises(DecompressionError):
            decompress(CODECS["lz4"], memoryview(frame), 256 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_after_a_frame_that_was_cut_the_next_is_opened_from_its_beginning() -> None:
    whole = lz4_java(b"abc" * 50_000)
    for _ in range(2):
        for size in range(0, len(whole), 97):
            with pytest.raises(DecompressionError):
                decompress(CODECS["lz4"], memoryview(whole)[:size], LIMIT)
        assert decompress(CODECS["lz4"], memoryview(whole), LIMIT) == b"abc" * 50_000


@needs_snappy
def test_a_snappy_block_of_a_few_bytes_was_believed_to_be_of_megabytes() -> None:
    claims_100_mb = b"\x80\xc2\xd7\x2f" + bytes(10)
    with pytest.raises(DecompressionError, match="14 bytes claim to be 100000000"):
        decompress(CODECS["snappy"], memoryview(claims_100_mb), 256 << 20)


@needs_zstd
def test_opening_a_few_bytes_of_zstd_set_the_whole_limit_aside() -> None:
    compressed = memoryview(zstd_raw(b"x" * 100))
    decompress(CODECS["zstd"], compressed, 1000)  # loads the library
    tracemalloc.start()
    try:
        assert decompress(CODECS["zstd"], compressed, 256 << 20) == b"x" * 100
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


@needs_snappy
def test_a_snappy_block_that_lies_about_its_size() -> None:
    with pytest.raises(DecompressionError, match="more than"):
        decompress(CODECS["snappy"], memoryview(b"\xff\xff\xff\xff\x0f\x00"), LIMIT)


@pytest.mark.parametrize("codec", [0, 5, 6, 7])
def test_unknown_codecs(codec: int) -> None:
    with pytest.raises(DecompressionError, match="not known"):
        decompress(codec, memoryview(b""), LIMIT)


def test_a_codec_that_is_not_installed_says_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    for codec, package in (("snappy", "cramjam"), ("zstd", "zstandard")):
        with pytest.raises(DecompressionError, match=f"{codec} needs one of .*{package}"):
            decompress(CODECS[codec], memoryview(bytes(20)), LIMIT)


@given(st.sampled_from([1, 2, 3, 4]), st.binary(max_size=60), st.booleans())
def test_any_bytes(codec: int, data: bytes, with_magic: bool) -> None:
    magic = {
        1: b"\x1f\x8b\x08",
        2: b"\x82SNAPPY\x00",
        3: b"\x04\x22\x4d\x18",
        4: b"\x28\xb5\x2f\xfd",
    }
    data = magic[codec] + data if with_magic else data
    try:
        assert len(decompress(codec, memoryview(data), 1000)) <= 1000
    except DecompressionError:
        pass
