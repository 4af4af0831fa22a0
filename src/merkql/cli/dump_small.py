"""`dump` of the files that hold one thing. Formats: docs/formats/data-directory.md, tail-page.md,
merkle-log.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
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


def dump_start(place: Place, _: Depth) -> Iterator[Finding]:
    """The first offset that is shown, and its checksum."""
    return _number(place, "first offset shown", encode_start)


def dump_clean(place: Place, _: Depth) -> Iterator[Finding]:
    """The last group before a clean close, and its checksum."""
    return _number(place, "last group", encode_clean)


def _number(place: Place, what: str, encode: Callable[[int], bytes]) -> Iterator[Finding]:
    data = place.content()
    number = int.from_bytes(data[4:12], "little")
    problem = None if data == encode(number) else "it does not check out"
    yield Finding("number", 0, {what: number}, problem)


def dump_tree(place: Place, depth: Depth) -> Iterator[Finding]:
    """A level of a tree: how many hashes there are, and each with ``depth.records``."""
    level = f" of level {int(place.name[1:])}" if re.fullmatch(r"h\d\d", place.name) else ""
    return _hashes(place, depth, HASH_SIZE, f"hashes{level}")


def dump_salts(place: Place, depth: Depth) -> Iterator[Finding]:
    """The salts: how many there are, and each with ``depth.records``."""
    return _hashes(place, depth, SALT_SIZE, "salts")


def _hashes(place: Place, depth: Depth, size: int, what: str) -> Iterator[Finding]:
    """Whether they are right only the records tell: `verify` asks them."""
    count, rest = divmod(place.size, size)
    if depth.records:
        for first in range(0, count, AT_ONCE):
            data = place.pool.read(place.path, AT_ONCE * size, first * size)
            for at in range(0, len(data) - len(data) % size, size):
                index = first + at // size
                yield Finding(
                    "hash", index * size, {"index": index, "hash": data[at : at + size].hex()}
                )
    problem = "the last one is cut short" if rest else None
    yield Finding("end", place.size, {what: count}, problem)
