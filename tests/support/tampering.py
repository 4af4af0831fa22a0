"""What a forger does to a log: changes records and mends every checksum over them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from merkql._core.crc32c import crc32c

_CRC, _COVERED = 17, 21  # where a batch's checksum stands, and what it is over begins


def batches(content: bytes) -> Iterator[tuple[int, int]]:
    """Where each record batch of a segment begins and ends."""
    at = 0
    while at + 12 <= len(content) and any(content[at : at + 12]):
        size = 12 + struct.unpack_from(">i", content, at + 8)[0]
        yield at, at + size
        at += size


def mended(content: bytes) -> bytes:
    """The segment with the checksum of each batch made to fit."""
    whole = bytearray(content)
    for begin, end in batches(content):
        struct.pack_into(">I", whole, begin + _CRC, crc32c(whole[begin + _COVERED : end]))
    return bytes(whole)


def forge(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a segment and mend its checksums."""
    content = path.read_bytes()
    changed = change(content)
    assert changed != content
    path.write_bytes(mended(changed))


def replacing(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Puts other bytes of the same number in the place of some."""
    assert len(old) == len(new)

    def change(content: bytes) -> bytes:
        assert content.count(old) == 1, f"{old!r} is there {content.count(old)} times"
        return content.replace(old, new)

    return change
