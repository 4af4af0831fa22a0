"""The first visible offset of a partition, kept once records below it may be gone.

Twelve bytes and a checksum, replaced as a whole. Format: docs/formats/data-directory.md.
"""

from __future__ import annotations

import struct

import xxhash

from merkql.errors import CorruptionError
from merkql.storage.file_pool import FilePool
from merkql.storage.files import replace_file

_CONTENT = struct.Struct("<4sQ")
MAGIC = b"MKS1"
_OFFSET_MAX = 1 << 62


def encode_start(start_offset: int) -> bytes:
    content = _CONTENT.pack(MAGIC, start_offset)
    return content + xxhash.xxh3_64_intdigest(content).to_bytes(8, "little")


def read_start(pool: FilePool, path: str) -> int:
    """The start offset, 0 without a file; ``CorruptionError`` if its checksum fails."""
    try:
        content = pool.read(path, 64, 0)
    except FileNotFoundError:
        return 0
    start_offset: int = _CONTENT.unpack_from(content)[1] if len(content) == 20 else -1
    if not 0 <= start_offset <= _OFFSET_MAX or content != encode_start(start_offset):
        raise CorruptionError(path, 0, "the start offset does not check out; remove the file")
    return start_offset


def write_start(pool: FilePool, path: str, start_offset: int) -> None:
    """Store ``start_offset``; durable when it returns."""
    pool.forget(path)
    replace_file(pool.files, path, encode_start(start_offset))
