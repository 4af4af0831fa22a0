"""Bytes made a little wrong, the same for the same draw."""

from __future__ import annotations

import random
import struct

EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WIDE = (1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
SIZE_MAX = 1 << 17


def mutated(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """``data`` with a few changes of the kinds that decoders get wrong."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 8))):
        _change(changed, others, draw)
    return bytes(changed[:SIZE_MAX])


def _change(data: bytearray, others: list[bytes], draw: random.Random) -> None:
    kind = draw.randrange(8)
    at = draw.randrange(len(data) + 1)
    if kind == 0 and data:
        data[at % len(data)] ^= 1 << draw.randrange(8)
    elif kind == 1:
        _put(data, at, struct.pack(draw.choice(("<I", ">I")), draw.choice(EDGES)))
    elif kind == 2:
        _put(data, at, struct.pack(draw.choice(("<Q", ">Q")), draw.choice((*EDGES, *WIDE))))
    elif kind == 3:
        del data[at : at + draw.choice((1, 2, 8, 64, 1 << 20))]
    elif kind == 4:
        data[at:at] = draw.randbytes(draw.choice((1, 2, 8, 64)))
    elif kind == 5:
        other = draw.choice(others)
        begin = draw.randrange(len(other) + 1)
        data[at:] = other[begin:]
    elif kind == 6:
        data[at:at] = data[at : at + draw.choice((1, 8, 64, 1024))] * draw.choice((1, 2, 16))
    else:
        _put(data, at, bytes([draw.choice((0, 0x7F, 0x80, 0xFF))]) * draw.choice((1, 4, 10)))


def _put(data: bytearray, at: int, part: bytes) -> None:
    data[at : at + len(part)] = part
