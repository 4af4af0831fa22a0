"""What processes that share a directory tell each other: the WAL's state, and that it changed.

One small file, overwritten in place after every group. Its first 64 bytes tell any process whether
something changed since it last looked. The rest is for the next holder of the writer role, and
trusted only within the session it was written in, that is while some process of it is alive.
Format: docs/formats/state.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

import xxhash

from merkql.storage import layout
from merkql.storage.files import Files

MAGIC = b"MKST"
VERSION = 1
NEWS = struct.Struct("<4sB3x16sQQQQ8x")  # magic, version, boot, session, version, topics, checksum
# flags, number of files, process, epoch, position, next, durable and floor sequence, numbers, bytes
_BODY = struct.Struct("<BxHIQQQQQIIQ")
_FILE = struct.Struct("<IB3xQQQ")
_LIVE = struct.Struct("<16sI4xQ")
LIVE_SIZE = _LIVE.size
_NUMBER_MAX = 1 << 62  # sequence numbers, positions and counts stay below it
STATE_SIZE = 4096
FILES_MAX = (STATE_SIZE - NEWS.size - _BODY.size) // _FILE.size

FREE, RETIRED, CURRENT = range(3)

LivePartition = tuple[bytes, int]  # topic id and number


class WalFileState(NamedTuple):
    """One file of the write-ahead log."""

    number: int
    kind: int  # FREE, RETIRED or CURRENT
    size: int
    first_sequence: int
    last_sequence: int


@dataclass(slots=True)
class SharedState:
    """The WAL as the last group left it. Sequence numbers count groups."""

    boot_id: bytes = bytes(16)
    session: int = 0  # random; a new one begins with every recovery or clean open
    version: int = 0  # incremented by every change that others may want to see
    topics_version: int = 0  # incremented when topics or partitions change
    busy: bool = False  # work in progress: the next holder recovers first if it finds this set
    failed: bool = False  # a sync failed: likewise
    began_clean: bool = False  # the session began after a clean close
    mark_there: bool = False  # the clean mark still exists: nothing was written since
    damaged: bool = False  # a partition was found damaged: no close is a clean one
    preparing: bool = False  # some process is creating the next WAL file
    process: int = 0  # who wrote this
    epoch: int = 0  # of the current file
    position: int = 0  # in the current file, of the next frame
    next_sequence: int = 1
    durable_sequence: int = 0
    stated_floor: int = 0
    next_number: int = 1  # of the next file
    live_count: int = 0  # partitions written to in this session
    written: int = 0  # bytes of frames in this session, without their padding
    files: list[WalFileState] = field(default_factory=list)

    def is_settled(self, boot_id: bytes) -> bool:
        """Whether another process can continue from here, with no reboot in between."""
        return self.boot_id == boot_id and not (self.busy or self.failed)


class SharedStateFile:
    """The open file; several processes have it open at once."""

    def __init__(self, files: Files, root: str, *, write: bool) -> None:
        self._files = files
        self._path = layout.shared_state(root)
        self._descriptor = files.open(self._path, write=write, create=write)

    def content(self) -> bytes:
        """The bytes for ``decode``; they begin with what ``news`` would have returned."""
        return self._files.read(self._descriptor, STATE_SIZE, 0)

    def news(self) -> bytes:
        """Sixty-four bytes that differ after any change. Cost: one small read."""
        return self._files.read(self._descriptor, NEWS.size, 0)

    def read(self) -> SharedState | None:
        """The state, or None where it is missing, torn, damaged or of another version."""
        return decode(self.content())

    def write(self, content: bytes) -> bytes:
        """Replace the encoded state, in the page cache, where other processes read it.

        Returns what ``news`` returns from now on.
        """
        self._files.write(self._descriptor, content, 0)
        return content[: NEWS.size]

    def append_live(self, number: int, partition: LivePartition) -> None:
        """Record a partition as written to; it counts once ``live_count`` covers it."""
        self._files.write(
            self._descriptor, encode_live(partition), STATE_SIZE + number * _LIVE.size
        )

    def live(self, first: int, stop: int) -> list[LivePartition] | None:
        """The partitions recorded at [first, stop); None if one fails its checksum."""
        if first == stop:
            return []
        size = (stop - first) * _LIVE.size
        data = self._files.read(self._descriptor, size, STATE_SIZE + first * _LIVE.size)
        found = [decode_live(data, at) for at in range(0, size, _LIVE.size)]
        whole = [one for one in found if one is not None]
        return whole if len(whole) == len(found) else None

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        self._files.close(descriptor)


def encode(state: SharedState) -> bytes:
    flags = state.busy | state.failed << 1 | state.began_clean << 2
    flags |= state.mark_there << 3 | state.preparing << 4 | state.damaged << 5
    body = _BODY.pack(
        flags,
        len(state.files),
        state.process,
        state.epoch,
        state.position,
        state.next_sequence,
        state.durable_sequence,
        state.stated_floor,
        state.next_number,
        state.live_count,
        state.written,
    )
    if state.files:
        body += b"".join([_FILE.pack(*file) for file in state.files])
    fields = (state.boot_id, state.session, state.version, state.topics_version)
    unchecked = NEWS.pack(MAGIC, VERSION, *fields, 0)
    checksum = xxhash.xxh3_64_intdigest(unchecked + body)
    return NEWS.pack(MAGIC, VERSION, *fields, checksum) + body


def decode(data: bytes) -> SharedState | None:
    if len(data) < NEWS.size + _BODY.size:
        return None
    magic, version, boot_id, session, news, topics, checksum = NEWS.unpack_from(data)
    fields = _BODY.unpack_from(data, NEWS.size)
    flags, file_count, process, epoch, position, next_sequence, durable, floor = fields[:8]
    next_number, live_count, written = fields[8:]
    end = NEWS.size + _BODY.size + file_count * _FILE.size
    if magic != MAGIC or version != VERSION or file_count > FILES_MAX or len(data) < end:
        return None
    unchecked = NEWS.pack(magic, version, boot_id, session, news, topics, 0)
    if xxhash.xxh3_64_intdigest(unchecked + data[NEWS.size : end]) != checksum:
        return None
    files = [*map(WalFileState._make, _FILE.iter_unpack(data[NEWS.size + _BODY.size : end]))]
    if max(news, topics, *fields[4:], *(max(file) for file in files)) > _NUMBER_MAX:
        return None
    return SharedState(
        boot_id=boot_id,
        session=session,
        version=news,
        topics_version=topics,
        busy=bool(flags & 1),
        failed=bool(flags & 2),
        began_clean=bool(flags & 4),
        mark_there=bool(flags & 8),
        preparing=bool(flags & 16),
        damaged=bool(flags & 32),
        process=process,
        epoch=epoch,
        position=position,
        next_sequence=next_sequence,
        durable_sequence=durable,
        stated_floor=floor,
        next_number=next_number,
        live_count=live_count,
        written=written,
        files=files,
    )


def encode_live(partition: LivePartition) -> bytes:
    topic_id, index = partition
    content = topic_id + index.to_bytes(4, "little")
    return _LIVE.pack(topic_id, index, xxhash.xxh3_64_intdigest(content))


def decode_live(data: bytes, position: int) -> LivePartition | None:
    """The partition stated at ``position``, or None if its checksum fails."""
    if len(data) < position + _LIVE.size:
        return None
    topic_id, index, checksum = _LIVE.unpack_from(data, position)
    content = topic_id + index.to_bytes(4, "little")
    return (topic_id, index) if xxhash.xxh3_64_intdigest(content) == checksum else None


def version_of(news: bytes, boot_id: bytes | None) -> tuple[int, int] | None:
    """The record and topic versions in what ``news`` returned, unchecked.

    None for another file, and, if ``boot_id`` is given, for one written before the last boot.
    """
    if len(news) < NEWS.size:
        return None
    magic, _, boot, _, version, topics, _ = NEWS.unpack_from(news)
    if magic != MAGIC or (boot_id is not None and (boot != boot_id or not any(boot_id))):
        return None
    return version, topics
