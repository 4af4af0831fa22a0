"""The newest checkpoint that a key signed for each origin, stored beside the key.

A directory restored from a backup, or copied and used twice, is consistent in itself; only what its
key signed last contradicts it. Two slots per file, written alternately, synced before a signature
leaves this process. Format: docs/formats/checkpoints.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from merkql.errors import CorruptionError
from merkql.storage.checkpoint_file import CHECKPOINT, Frame, decode_frame, encode_frame
from merkql.storage.files import Files, replace_file
from merkql.storage.history import KeptCheckpoint

SLOT_SIZE = 4096


class Head:
    """The newest checkpoint of one origin, locked against other processes with the same key."""

    def __init__(self, files: Files, path: str, descriptor: int) -> None:
        self.path = path
        self._files = files
        self._descriptor = descriptor
        self._slot = 0  # to be written next
        self.newest = self._read()

    def _read(self) -> KeptCheckpoint | None:
        slots = [
            self._files.read(self._descriptor, SLOT_SIZE, number * SLOT_SIZE) for number in (0, 1)
        ]
        frames = [decode_frame(slot, 0, number) for number, slot in enumerate(slots)]
        sound = [frame for frame in frames if frame is not None]
        if not sound:
            if b"".join(slots).strip(b"\0"):
                reason = "what the key signed last cannot be read; restore the file from a copy"
                raise CorruptionError(self.path, 0, reason)
            return None
        newest = max(sound, key=lambda frame: (frame.tree_size, frame.time_ms))
        self._slot = 1 - newest.position
        return KeptCheckpoint.of_note(newest.content, newest.time_ms)

    def write(self, checkpoint: KeptCheckpoint) -> None:
        """Make this the newest; durable when it returns."""
        frame = Frame(CHECKPOINT, checkpoint.size, checkpoint.time_ms, checkpoint.note)
        data = encode_frame(frame)
        if len(data) > SLOT_SIZE:
            raise ValueError(f"a checkpoint of {len(data)} bytes: too many keys, or too long names")
        self._files.write(self._descriptor, data.ljust(SLOT_SIZE, b"\0"), self._slot * SLOT_SIZE)
        self._files.sync(self._descriptor)
        self._slot = 1 - self._slot
        self.newest = checkpoint


class Heads:
    """The directory of one key's newest checkpoints."""

    def __init__(self, files: Files, directory: str) -> None:
        self.directory = directory
        self._files = files

    def knows(self, origin: str) -> bool:
        """Whether this key ever signed for the origin."""
        return self._files.status(self._path(origin)) is not None

    @contextmanager
    def held(self, origin: str) -> Iterator[Head]:
        """Lock and read an origin's newest checkpoint; other users of this key wait meanwhile."""
        files = self._files
        if files.status(self.directory) is None:
            files.make_directories(self.directory)
            files.sync_directory(os.path.dirname(self.directory))
        lock = files.open(os.path.join(self.directory, "lock"), write=True, create=True)
        try:
            files.lock(lock)
            path = self._path(origin)
            if not self.knows(origin):  # zeros ahead: later writes grow no file
                replace_file(files, path, bytes(2 * SLOT_SIZE))
            descriptor = files.open(path, write=True)
            try:
                yield Head(files, path, descriptor)
            finally:
                files.close(descriptor)
        finally:
            files.release(lock)

    def _path(self, origin: str) -> str:
        return os.path.join(self.directory, sha256(origin.encode()).hexdigest())
