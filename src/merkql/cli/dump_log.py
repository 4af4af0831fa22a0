"""`dump` of a file of the write-ahead log. Format: docs/formats/frame.md."""

from __future__ import annotations

from collections.abc import Iterator

from merkql._core import frame
from merkql.cli.dumping import Depth, Finding, Place
from merkql.errors import MerkqlError
from merkql.storage.directory import read_mark


def dump_frames(place: Place, depth: Depth) -> Iterator[Finding]:
    """Every whole frame, also those an earlier use of the file left; what is not whole is named."""
    seed, data = _seed(place), memoryview(place.content())
    if seed is None:
        yield Finding("note", 0, {"note": "no merkql.json above: checksums cannot be checked"})
        seed = 0
    position, sequence, is_empty = 0, -1, True
    while position < len(data):
        one = frame.decode(data[position:], position, seed)
        if one is not None:
            yield _found(one, place, is_older=one.sequence < sequence)
            sequence = max(sequence, one.sequence)
            if depth.records:
                yield from _sections(one, place)
            position = one.next_position
            continue
        start = position
        is_frame = data[position : position + 4] == frame.MAGIC
        position += frame.ALIGNMENT
        while position < len(data) and data[position : position + 4] != frame.MAGIC:
            position += frame.ALIGNMENT
        size = min(position, len(data)) - start
        is_used = bool(bytes(data[start : start + size]).strip(b"\0"))
        is_empty = is_empty and not is_used
        if is_frame:
            yield Finding("frame", start, {"size": size}, "torn or damaged: no sound checksum")
        else:
            yield Finding("remains" if is_used else "unused", start, {"size": size})
    if sequence < 0 and not is_empty:
        yield Finding("end", len(data), {}, "not one whole frame: is it of a write-ahead log?")


def _found(one: frame.Frame, place: Place, *, is_older: bool) -> Finding:
    fields: dict[str, object] = {
        "group": one.sequence,
        "session": one.epoch,
        "durable": one.durable_sequence,
        "floor": one.floor_sequence,
        "size": one.size,
        "records": sum(section.record_count for section in one.sections),
    }
    topics = sorted({f"{place.topic(s.topic_id)}/{s.partition}" for s in one.sections})
    fields["to"] = ", ".join(topics)
    return Finding("older frame" if is_older else "frame", one.position, fields)


def _sections(one: frame.Frame, place: Place) -> Iterator[Finding]:
    for section in one.sections:
        fields: dict[str, object] = {
            "topic": place.topic(section.topic_id),
            "partition": section.partition,
            "offset": section.first_offset,
            "records": section.record_count,
            "size": len(section.data),
            "salts": len(section.salts),
        }
        yield Finding("section", one.position, fields)


def _seed(place: Place) -> int | None:
    if place.root is None:
        return None
    try:
        return read_mark(place.pool.files, place.root).seed
    except (MerkqlError, OSError):
        return None
