"""Opens the compressed records of a batch: LZ4, and what other Kafka clients send.

The output is bounded whatever the input claims. snappy and zstd need a library that may not be
installed. Format: docs/formats/kafka-record-batch.md.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any

import lz4.frame

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_SIZE = 16
_LZ4_RATIO_MAX = 255
_LZ4_HEADER_SIZE_MAX = 19
_LZ4_BLOCK_KEPT = 64 << 10  # of blocks so large, as ours, the library's buffers are used again
_LZ4_CONTEXTS_KEPT = 4
_SNAPPY_RATIO_MAX = 22  # three bytes copy at most 64
_PIECE_SIZE = 1 << 20

# Out of use at the moment, and at the end of a frame; taken and put back by one call each.
_lz4_contexts: list[Any] = []


class DecompressionError(ValueError):
    """The records of a batch cannot be decompressed; the text says why."""


def decompress(codec: int, data: memoryview, limit: int) -> bytes:
    """Return the records of a batch of Kafka's `codec` number, at most `limit` bytes of them.

    Raises DecompressionError for a codec that is unknown or not installed, for bytes that are not
    one whole stream of it, and for more than `limit` bytes.
    """
    opener = _OPENERS.get(codec)
    if opener is None:
        raise DecompressionError(f"codec {codec} is not known")
    opened = opener(data, limit)
    if len(opened) > limit:
        raise DecompressionError(f"the records are larger than {limit} bytes when decompressed")
    return opened


def _open_gzip(data: memoryview, limit: int) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    try:
        opened = decompressor.decompress(data, limit + 1)
    except zlib.error as error:
        raise DecompressionError(f"gzip: {error}") from None
    if len(opened) <= limit:
        _check_end("gzip", whole=decompressor.eof, rest=decompressor.unused_data)
    return opened


def _open_lz4(data: memoryview, limit: int) -> bytes:
    # The library sets aside what it is told to expect: no more, then, than the input can yield.
    expected = min(limit, _LZ4_RATIO_MAX * len(data)) + 1
    opened: bytes
    try:
        info = lz4.frame.get_frame_info(data[:_LZ4_HEADER_SIZE_MAX])
        claimed = info["content_size"]
        if 0 < claimed < expected:
            expected = claimed  # not a byte more: a buffer that is filled is not copied once more
        try:
            context = _lz4_contexts.pop()
        except IndexError:
            context = lz4.frame.create_decompression_context()
        opened, used, whole = lz4.frame.decompress_chunk(context, data, max_length=expected)
    except (RuntimeError, ValueError, MemoryError) as error:
        raise DecompressionError(f"lz4: {error}") from None
    if whole and info["block_size"] <= _LZ4_BLOCK_KEPT and len(_lz4_contexts) < _LZ4_CONTEXTS_KEPT:
        _lz4_contexts.append(context)
    if len(opened) <= limit:
        _check_end("lz4", whole=whole, rest=data[used:])
    return opened


def _open_snappy(data: memoryview, limit: int) -> bytes:
    """Kafka has two dialects: one bare block, and blocks with sizes behind xerial's header."""
    block: Callable[[bytes], bytes]
    block = _load("snappy", {"cramjam": _cramjam_block, "snappy": _snappy_block})
    if bytes(data[: len(_XERIAL_MAGIC)]) != _XERIAL_MAGIC:
        return _snappy_checked(data, limit, block)
    position = _XERIAL_HEADER_SIZE
    opened: list[bytes] = []
    while position < len(data):
        start = position + 4
        position = start + int.from_bytes(data[start - 4 : start], "big")
        if start > len(data) or position > len(data):
            raise DecompressionError("snappy: the stream ends early")
        opened.append(_snappy_checked(data[start:position], limit, block))
        limit -= len(opened[-1])
    return b"".join(opened)


def _snappy_checked(data: memoryview, limit: int, block: Callable[[bytes], bytes]) -> bytes:
    """A block begins with the size it claims, in base 128; libraries set that much aside."""
    claimed = 0
    for index, byte in enumerate(bytes(data[:5])):
        claimed |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            break
    else:
        raise DecompressionError("snappy: the stream ends early")
    if claimed > limit:
        raise DecompressionError(f"snappy: more than {limit} bytes when decompressed")
    if claimed > _SNAPPY_RATIO_MAX * len(data):
        raise DecompressionError(f"snappy: {len(data)} bytes claim to be {claimed}")
    try:
        return block(bytes(data))
    except Exception as error:  # each library has an exception class of its own
        raise DecompressionError(f"snappy: {error}") from None


def _open_zstd(data: memoryview, limit: int) -> bytes:
    opener: Callable[[bytes, int], bytes] = _load(
        "zstd",
        {"compression.zstd": _stdlib_zstd, "backports.zstd": _stdlib_zstd, "zstandard": _zstandard},
    )
    return opener(bytes(data), limit)


def _stdlib_zstd(library: Any) -> Callable[[bytes, int], bytes]:
    def opener(data: bytes, limit: int) -> bytes:
        decompressor = library.ZstdDecompressor()
        try:
            opened: bytes = decompressor.decompress(data, limit + 1)
        except library.ZstdError as error:
            raise DecompressionError(f"zstd: {error}") from None
        if len(opened) <= limit:
            _check_end("zstd", whole=decompressor.eof, rest=decompressor.unused_data)
        return opened

    return opener


def _zstandard(library: Any) -> Callable[[bytes, int], bytes]:
    def opener(data: bytes, limit: int) -> bytes:
        try:
            with library.ZstdDecompressor().stream_reader(data) as reader:
                # The library sets aside what it is asked for: a megabyte, then as much as there is.
                pieces = [reader.read(min(limit + 1, _PIECE_SIZE))]
                while pieces[-1] and (opened := sum(map(len, pieces))) <= limit:
                    pieces.append(reader.read(min(limit + 1 - opened, max(opened, _PIECE_SIZE))))
        except library.ZstdError as error:
            raise DecompressionError(f"zstd: {error}") from None
        return b"".join(pieces)

    return opener


def _cramjam_block(library: Any) -> Callable[[bytes], bytes]:
    return lambda data: bytes(library.snappy.decompress_raw(data))


def _snappy_block(library: Any) -> Callable[[bytes], bytes]:
    return lambda data: bytes(library.uncompress(data))


def _load(codec: str, libraries: dict[str, Callable[[Any], Any]]) -> Any:
    for name, adapter in libraries.items():
        try:
            return adapter(importlib.import_module(name))
        except ImportError:
            continue
    raise DecompressionError(f"{codec} needs one of these packages: {', '.join(libraries)}")


def _check_end(codec: str, *, whole: bool, rest: bytes | memoryview | None) -> None:
    if not whole:
        raise DecompressionError(f"{codec}: the stream ends early")
    if rest:
        raise DecompressionError(f"{codec}: {len(rest)} bytes follow the stream")


_OPENERS: dict[int, Callable[[memoryview, int], bytes]] = {
    1: _open_gzip,
    2: _open_snappy,
    3: _open_lz4,
    4: _open_zstd,
}
