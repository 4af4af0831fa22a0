"""All signed checkpoints of a partition, in order: frames in one append-only file.

Also what they got later: witnesses' cosignatures and timestamp tokens. Handles bytes and tree
sizes, checks no signature. Format: docs/formats/checkpoints.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.file_pool import FilePool

CHECKPOINT, COSIGNED, TIMESTAMP = 1, 2, 3  # kinds of frames
MAGIC = b"MKN1"
_HEAD = struct.Struct("<4sIIIQq")  # magic, kind, content size, reserved, tree size, time
_FOOT = struct.Struct("<IIQ")  # frame size, reserved, checksum
_ALIGNMENT = 8
CONTENT_SIZE_MAX = 1 << 20
_ALLOCATION = 16 << 10  # zeros written ahead, so that most checkpoints grow no file
_READ_AT_ONCE = 64 << 10


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: a note (``CHECKPOINT``, ``COSIGNED``) or a token (``TIMESTAMP``)."""

    kind: int
    tree_size: int
    time_ms: int
    content: bytes
    position: int = -1  # in the file

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.position + frame_size(len(self.content))


def frame_size(content_size: int) -> int:
    """The bytes a frame takes in the file."""
    return _HEAD.size + -(-content_size // _ALIGNMENT) * _ALIGNMENT + _FOOT.size


def encode_frame(frame: Frame) -> bytes:
    """The bytes of a frame."""
    size = frame_size(len(frame.content))
    head = _HEAD.pack(MAGIC, frame.kind, len(frame.content), 0, frame.tree_size, frame.time_ms)
    body = (head + frame.content).ljust(size - _FOOT.size, b"\0") + struct.pack("<II", size, 0)
    return body + struct.pack("<Q", xxhash.xxh3_64_intdigest(body))


def decode_frame(data: bytes, at: int, position: int) -> Frame | None:
    """The frame at ``data[at:]``, ``position`` in the file; None if it is not sound."""
    if len(data) - at < _HEAD.size:
        return None
    magic, kind, size, reserved, tree_size, time_ms = _HEAD.unpack_from(data, at)
    if magic != MAGIC or reserved or size > CONTENT_SIZE_MAX:
        return None
    content = bytes(data[at + _HEAD.size : at + _HEAD.size + size])
    frame = Frame(kind, tree_size, time_ms, content, position)
    whole = bytes(data[at : at + frame_size(size)])
    return frame if whole == encode_frame(frame) else None


class CheckpointFile:
    """The file of one partition. One process at a time appends; any may read beside it."""

    def __init__(self, pool: FilePool, partition_directory: str) -> None:
        self.path = layout.checkpoints(partition_directory)
        self._directory = partition_directory
        self._pool = pool
        self._newest: Frame | None = None  # where to start reading; others may have appended
        self._unsynced_name = False

    def newest(self) -> Frame | None:
        """The newest checkpoint, with cosignatures if it has any; None if there is none.

        Cost: one read, whatever the file's length; after a crash it is read whole.
        """
        newest = None
        for frame in self._walk(self._starting_point()):
            if frame.kind in (CHECKPOINT, COSIGNED):
                newest = self._newest = frame
        return newest

    def frames(self) -> Iterator[Frame]:
        """Every sound frame, in order. ``CorruptionError`` for damage between two."""
        yield from self._walk(0)

    def append(self, frame: Frame) -> Frame:
        """Append a frame; durable when it returns. No other process may write meanwhile."""
        end, is_torn = self.end()
        if is_torn:
            self._pool.truncate(self.path, end)  # a crash tore a frame that nobody was given
        data = encode_frame(frame)
        is_new = not self._pool.exists(self.path)
        size = 0 if is_new else self._pool.size(self.path)
        if end + len(data) > size:
            data = data.ljust(-(-(end + len(data)) // _ALLOCATION) * _ALLOCATION - end, b"\0")
        self._pool.write(self.path, data, end, critical=True)
        self._pool.sync(self.path)
        if is_new or self._unsynced_name:
            self._unsynced_name = True  # stays so if the next call fails
            self._pool.sync_names(self._directory)
            self._unsynced_name = False
        return Frame(frame.kind, frame.tree_size, frame.time_ms, frame.content, end)

    def end(self) -> tuple[int, bool]:
        """Where the next frame goes, and whether a torn frame lies there."""
        end = position = self._starting_point()
        for frame in self._walk(position):
            end = frame.end
        return end, bool(self._read(end, _READ_AT_ONCE).strip(b"\0"))

    def _walk(self, position: int) -> Iterator[Frame]:
        data, start = b"", position
        while True:
            frame = decode_frame(data, position - start, position)
            if frame is None:
                data, start = self._read(position, _READ_AT_ONCE), position
                frame = decode_frame(data, 0, position)
            if frame is None and len(data) == _READ_AT_ONCE:
                data = self._read(position, frame_size(CONTENT_SIZE_MAX))
                frame = decode_frame(data, 0, position)
            if frame is None:
                self._check_end(position)
                return
            yield frame
            position = frame.end

    def _check_end(self, position: int) -> None:
        """``CorruptionError`` if a sound frame follows ``position``, which is then no end."""
        while True:
            data = self._read(position, frame_size(CONTENT_SIZE_MAX) + _READ_AT_ONCE)
            at = data.find(MAGIC, 1)
            while 0 < at < _READ_AT_ONCE:
                if decode_frame(data, at, 0) is not None:
                    reason = "a kept checkpoint is damaged; restore the file from a copy"
                    raise CorruptionError(self.path, position, reason)
                at = data.find(MAGIC, at + 1)
            if len(data) <= _READ_AT_ONCE:
                return
            position += _READ_AT_ONCE

    def _starting_point(self) -> int:
        """The position of a frame near the end."""
        known = self._newest
        if known is not None:
            data = self._read(known.position, frame_size(len(known.content)))
            if decode_frame(data, 0, known.position) == known:
                return known.position
            self._newest = None  # the file was replaced: restored, or recreated
        if not self._pool.exists(self.path):
            return 0
        size = self._pool.size(self.path)
        begin = max(0, size - _READ_AT_ONCE) // _ALIGNMENT * _ALIGNMENT
        data = self._read(begin, size - begin)
        end = -(-len(data.rstrip(b"\0")) // _ALIGNMENT) * _ALIGNMENT
        while end >= _FOOT.size:
            at = end - _FOOT.unpack_from(data.ljust(end, b"\0"), end - _FOOT.size)[0]
            frame = decode_frame(data, at, begin + at) if 0 <= at < end else None
            if frame is None:
                break
            if frame.kind in (CHECKPOINT, COSIGNED):
                return frame.position
            end = at
        return 0

    def _read(self, position: int, size: int) -> bytes:
        try:
            return self._pool.read(self.path, size, position)
        except FileNotFoundError:
            return b""
