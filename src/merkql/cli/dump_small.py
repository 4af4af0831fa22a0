"""`dump` of the files that hold one thing. Formats: docs/formats/data-directory.md, tail-page.md,
merkle-log.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from merkql.cli.dumping import Depth, Finding, Place
from merkql.cli.quantities import moment_text
from merkql.errors import MerkqlError
from merkql.storage import shared_state, tail_page
from merkql.storage.directory import encode_clean, read_mark
from merkql.storage.offset_index import TIMESTAMP_MIN
from merkql.storage.start_file import encode_start
from merkql.storage.tree_space import HASH_SIZE, SALT_SIZE
from merkql.topic_config import read_topic

AT_ONCE = 1 << 16


def dump_tail(place: Place, _: Depth) -> Iterator[Finding]:
    """Where the partition ends, as its writer said."""
    page = place.content()
    if not page:
        yield Finding("unused", 0, {"note": "nothing was written to this partition"})
        return
    state = tail_page.decode(page)
    if state is None:
        yield Finding("page", 0, {}, "torn, damaged, or of another version: no sound checksum")
        return
    fields = asdict(state)
    peaks = fields.pop("peaks")
    fields["boot_id"] = state.boot_id.hex()
    largest = state.largest_timestamp_ms
    fields["largest_timestamp_ms"] = None if largest == TIMESTAMP_MIN else moment_text(largest)
    for name, value in fields.items():
        yield Finding("page", 0, {name: value})
    for start in range(0, len(peaks), HASH_SIZE):
        yield Finding("page", 0, {"peak": peaks[start : start + HASH_SIZE].hex()})


def dump_state(place: Place, _: Depth) -> Iterator[Finding]:
    """Where the log stood when a process wrote last, and which partitions it had written."""
    data = place.content()
    state = shared_state.decode(data[: shared_state.STATE_SIZE])
    if state is None:
        yield Finding("state", 0, {}, "torn, damaged, or of another version: no sound checksum")
        return
    fields = asdict(state) | {"boot_id": state.boot_id.hex()}
    del fields["files"]
    for name, value in fields.items():
        yield Finding("state", 0, {name: value})
    for file in state.files:
        yield Finding("wal file", 0, file._asdict())
    for number in range(state.live_count):
        position = shared_state.STATE_SIZE + number * shared_state.LIVE_SIZE
        live = shared_state.decode_live(data, position)
        found = {} if live is None else {"topic_id": live[0].hex(), "partition": live[1]}
        yield Finding("partition", position, found, None if live else "it does not check out")


def dump_json(place: Place, _: Depth) -> Iterator[Finding]:
    """`topic.json` or `merkql.json`: each setting, and what the library says of it."""
    data = place.content()
    try:
        content = json.loads(data)
        if not isinstance(content, dict):
            raise TypeError("not an object")
    except (ValueError, TypeError, RecursionError) as error:
        yield Finding("settings", 0, {}, f"not JSON as it was written: {error}")
        return
    for name, value in content.items():
        yield Finding("setting", 0, {str(name): value})
    try:
        if place.name == "merkql.json":
            read_mark(place.pool.files, place.directory)
        elif place.name == "topic.json":
            read_topic(place.pool, place.directory)
    except MerkqlError as error:
        yield Finding("settings", 0, {}, str(error))


def dump_number(place: Place, _: Depth) -> Iterator[Finding]:
    """`start` or `clean`: a number and its checksum."""
    data = place.content()
    number = int.from_bytes(data[4:12], "little")
    what = "first offset shown" if place.name == "start" else "last group"
    encoded = encode_start(number) if place.name == "start" else encode_clean(number)
    yield Finding("number", 0, {what: number}, None if data == encoded else "it does not check out")


def dump_hashes(place: Place, depth: Depth) -> Iterator[Finding]:
    """A level of a tree, or the salts: how many there are, and each with ``depth.records``.

    Whether they are right only the records tell: `verify` asks them.
    """
    size = SALT_SIZE if place.name == "salts" else HASH_SIZE
    count, rest = divmod(place.size, size)
    if depth.records:
        for first in range(0, count, AT_ONCE):
            data = place.pool.read(place.path, AT_ONCE * size, first * size)
            for at in range(0, len(data) - len(data) % size, size):
                index = first + at // size
                yield Finding(
                    "hash", index * size, {"index": index, "hash": data[at : at + size].hex()}
                )
    what = "salts" if place.name == "salts" else f"hashes of level {int(place.name[1:])}"
    problem = "the last one is cut short" if rest else None
    yield Finding("end", place.size, {what: count}, problem)
