"""`dump` of a segment and of its index. Formats: docs/formats/kafka-record-batch.md,
docs/formats/offset-index.md."""

from __future__ import annotations

from collections.abc import Iterator

from merkql._core.batch_decoder import decode
from merkql._core.batch_fields import HEADER_SIZE, BatchDetails, details, peek
from merkql._core.batch_header import BatchError
from merkql._core.record import Record
from merkql.cli.dumping import Depth, Finding, Place
from merkql.cli.quantities import moment_text
from merkql.cli.record_text import json_object
from merkql.storage import layout
from merkql.storage.batch_search import find_whole_batch
from merkql.storage.offset_index import ENTRY_SIZE, decode_entries
from merkql.storage.segment import Run, scan_segment

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
INDEX_AT_ONCE = 1 << 16
OFFSETS_END = 1 << 62


def dump_segment(place: Place, depth: Depth) -> Iterator[Finding]:
    """Every whole batch, also behind damage; what lies between is named."""
    end = place.size
    stated = layout.parse_segment(place.name)
    first = peek(place.pool.read(place.path, HEADER_SIZE, 0))
    offset = stated if stated is not None else first.first_offset if first is not None else 0
    position, known = 0, stated is not None or first is not None
    while known:
        run = None
        for run in scan_segment(
            place.pool, place.path, position=position, expected_offset=offset, end=end
        ):
            yield from _batches(run, depth)
        assert run is not None  # a scan yields at least once
        found = find_whole_batch(
            place.pool, place.path, run.end_position + 1, end, offset_min=run.next_offset
        )
        if run.verdict == "clean" and found is None:
            if run.end_position < end:
                yield Finding("unused", run.end_position, {"size": end - run.end_position})
            return
        size = (end if found is None else found[1]) - run.end_position
        yield _damage(run, size, None if found is None else found[0])
        if found is None:
            return
        offset, position = found
    if end:
        yield Finding("damage", 0, {"size": end}, "no batch begins here")


def _damage(run: Run, size: int, following: int | None) -> Finding:
    reason = run.reason or "unused space inside the segment"
    if following is not None:
        reason += f"; offsets {run.next_offset} to {following - 1} cannot be read"
    return Finding("damage", run.end_position, {"size": size}, reason)


def _batches(run: Run, depth: Depth) -> Iterator[Finding]:
    for first, position, size, count, _ in run.batches:
        data = run.data[position : position + size]
        about = details(bytes(data[:HEADER_SIZE]))
        fields: dict[str, object] = {"offset": first, "records": count, "size": size}
        fields |= _about(about)
        yield Finding("batch", run.position + position, fields)
        if depth.records and not about.is_control:
            yield from _records(data, run.position + position)


def _about(about: BatchDetails) -> dict[str, object]:
    codec = CODECS[about.codec] if about.codec < len(CODECS) else f"codec {about.codec}"
    fields: dict[str, object] = {"compression": codec, "time": moment_text(about.timestamp_ms)}
    if about.is_control:
        fields["control"] = True
    if about.producer_id != -1:
        fields["producer"] = about.producer_id
    return fields


def _records(data: memoryview, position: int) -> Iterator[Finding]:
    try:
        records = decode(
            data, "", 0, first_offset=0, stop_offset=OFFSETS_END, max_records=1 << 31
        ).records
    except (BatchError, ImportError) as error:
        yield Finding("damage", position, {}, str(error))
        return
    for record in records:
        yield Finding("record", position, _shown(record))


def _shown(record: Record) -> dict[str, object]:
    fields = json_object(record)
    for name in ("topic", "partition", "timestamp_ms"):
        del fields[name]
    headers = fields.pop("headers")
    time = {"time": moment_text(record.timestamp_ms)}
    return {**fields, **time, **({"headers": headers} if headers else {})}


def dump_index(place: Place, depth: Depth) -> Iterator[Finding]:
    """The entries that contradict something, and all of them with ``depth.records``."""
    size, before, count = place.size, (-1, -1), 0
    for start in range(0, size, INDEX_AT_ONCE * ENTRY_SIZE):
        data = place.pool.read(place.path, INDEX_AT_ONCE * ENTRY_SIZE, start)
        if not data.strip(b"\0"):
            yield Finding("unused", start, {"size": size - start})
            break
        for number, (entry, is_sound) in enumerate(decode_entries(data)):
            position = start + number * ENTRY_SIZE
            rest = data[number * ENTRY_SIZE :]
            if not rest.strip(b"\0") if entry == (0, 0, 0) else False:
                yield Finding("unused", position, {"size": size - position})
                break
            problem = None if is_sound else "the entry does not check out"
            if is_sound and entry[:2] <= before:
                problem = "not above the entry before it"
            before = entry[:2] if is_sound else before
            count += 1
            if depth.records or problem is not None:
                time = moment_text(entry.largest_timestamp_ms)
                fields = {"offset": entry.first_offset, "at byte": entry.position, "time": time}
                yield Finding("entry", position, fields, problem)
    if size % ENTRY_SIZE:
        position = size - size % ENTRY_SIZE
        yield Finding("damage", position, {"size": size % ENTRY_SIZE}, "an entry is cut short")
    yield Finding("end", size, {"entries": count})
