"""The write-ahead log: one write and one sync for a group, however many partitions it touches.

Its files hold real zeros before they are used and are recycled afterwards, so that a commit
overwrites written blocks and no sync has to make metadata durable. Format: docs/formats/frame.md.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass

from merkql._core import frame
from merkql.errors import again
from merkql.storage import layout
from merkql.storage.entries import wal_files
from merkql.storage.files import Files

FILE_SIZE_MIN = 128 << 10
FILE_SIZE_MAX = 16 << 20
QUIET_SIZE_MAX = 1 << 20
GROWTH = 4
QUICK_S = 1.0  # files that fill faster than this are followed by larger ones
HASTY_SIZE_MAX = 1 << 20  # of a file a writer makes itself: it waits for the zeros
ADOPTED_FILES_MAX = 3
_FILL_BURST = 1 << 20  # zeros are written out in such pieces, beside the syncs of the writer
_ZEROS = bytes(64 << 10)  # larger pieces make each later small overwrite dearer (large folios)


@dataclass(slots=True)
class _File:
    number: int
    path: str
    descriptor: int
    size: int
    first_sequence: int = 0
    last_sequence: int = 0


class Wal:
    """Appends frames; owned by the writer. ``append`` by one thread at a time, the rest by any."""

    def __init__(self, files: Files, directory: str, *, seed: int, next_sequence: int) -> None:
        self._files = files
        self._directory = directory
        self._seed = seed
        self._lock = threading.Lock()  # guards the lists of files
        self._free: list[_File] = []
        self._retired: list[_File] = []
        self._current: _File | None = None
        self._next_number = 1
        self._epoch = 0
        self._position = 0
        self._begun = 0.0  # when the present file was
        self._written = 0  # bytes of frames in all, without their padding
        self._unsynced = False
        self.failed: OSError | None = None  # of a sync: nothing may be appended any more
        self._next_sequence = next_sequence
        self._durable_sequence = next_sequence - 1
        self._stated_floor = 0  # by the newest frame: what recovery takes as its beginning
        self._surplus: list[_File] = []

    def adopt_files(self) -> None:
        """Take over the files of earlier sessions: nothing in them is needed any more.

        They are written to once a frame of this session says so: until then recovery reads them.
        """
        for name in self._files.list_directory(self._directory):
            number = layout.parse_wal_file(name.removesuffix(layout.KEPT_SUFFIX)) or 0
            self._next_number = max(self._next_number, number + 1)
        for number, path in wal_files(self._files, self._directory):
            descriptor = self._files.open(path, write=True)
            size = self._files.size(descriptor) & -frame.ALIGNMENT
            last = self._next_sequence - 1
            self._free.append(_File(number, path, descriptor, size, last_sequence=last))
        self._free.sort(key=lambda file: file.size, reverse=True)
        self._surplus = self._free[ADOPTED_FILES_MAX:]
        del self._free[ADOPTED_FILES_MAX:]

    @property
    def last_sequence(self) -> int:
        """The sequence number of the newest frame appended."""
        return self._next_sequence - 1

    @property
    def has_unsynced(self) -> bool:
        """Whether frames of topics of durability ``disk`` wait for a sync that nobody asked for."""
        return self._unsynced

    @property
    def is_large(self) -> bool:
        """Whether the files hold more than a quiet log needs."""
        with self._lock:
            files = [*self._free, *self._retired]
        current = self._current
        return sum(f.size for f in files) + (current.size if current else 0) > QUIET_SIZE_MAX

    def append(self, sections: tuple[frame.Section, ...]) -> None:
        """Write one frame, durable after ``sync``. An ``OSError`` leaves the log as it was."""
        size = frame.HEADER.size + sum(
            frame.SECTION.size + len(s.data) + len(s.salts) for s in sections
        )
        padded_size = frame.padded(size)
        current = self._file_with_room(padded_size)
        header = frame.Frame(
            self._epoch,
            self._position,
            self._next_sequence,
            self._durable_sequence,
            self._floor_sequence(current),
            sections,
        )
        parts = frame.encode(header, self._seed)
        self._files.write_parts(current.descriptor, parts, self._position)
        self._stated_floor = header.floor_sequence
        current.last_sequence = self._next_sequence
        self._position += padded_size
        self._written += size
        self._unsynced = True
        self._next_sequence += 1

    def sync(self) -> None:
        """Make every frame appended so far durable; a failure is final."""
        if self.failed is not None:
            raise again(self.failed)
        if self._unsynced and self._current is not None:
            try:
                self._files.sync(self._current.descriptor)
            except OSError as error:
                self.failed = error
                raise
            self._unsynced = False
            self._durable_sequence = self._next_sequence - 1
            if self._surplus:
                surplus, self._surplus = self._surplus, []
                with contextlib.suppress(OSError):  # what stays is adopted the next time
                    self._remove(surplus)

    def release(self, sequence: int) -> None:
        """Recycle the files whose frames, up to ``sequence``, are durable in the segments."""
        with self._lock:
            kept = [file for file in self._retired if file.last_sequence > sequence]
            self._free += [file for file in self._retired if file.last_sequence <= sequence]
            self._retired = kept

    @property
    def wants_release(self) -> bool:
        """Whether files wait for their records to be durable in the segments."""
        return bool(self._retired)

    @property
    def wants_file(self) -> bool:
        """Whether a file should be made now, ahead of the writer's need for it."""
        current = self._current
        if current is None or self._position * 2 <= current.size:
            return False
        wanted = self._next_size(current) if self._is_quick() else 0
        with self._lock:
            return not any(file.size >= wanted for file in self._free)

    def prepare_file(self) -> None:
        """Make one more file of zeros, off the path of any writer."""
        current = self._current
        if current is not None:
            file = self._make_file(self._next_size(current), synced=True)
            with self._lock:
                self._free.append(file)

    def discard(self) -> None:
        """Remove every file; for who knows that no frame is needed any more.

        First an empty frame in a new file says so, durably: a crash in between finds it.
        """
        fresh = self._make_file(FILE_SIZE_MIN, synced=False)
        self._surplus = self._take_all()
        self._begin(fresh)
        self.append(())
        self.sync()  # this removes them
        self._files.sync_directory(self._directory)

    def close(self, *, clean: bool) -> None:
        """Close the files; after a clean close nothing in them is needed and they are removed."""
        everything = self._take_all()
        if clean:
            self._remove(everything)
            return
        for file in everything:
            self._files.close(file.descriptor)

    def _take_all(self) -> list[_File]:
        with self._lock:
            everything = [*self._free, *self._retired, *self._surplus]
            if self._current is not None:
                everything.append(self._current)
            self._free, self._retired, self._surplus, self._current = [], [], [], None
        return everything

    def _remove(self, files: list[_File]) -> None:
        for file in files:
            self._files.close(file.descriptor)
            self._files.remove(file.path)

    def _file_with_room(self, size: int) -> _File:
        current = self._current
        if current is not None and self._position + size <= current.size:
            return current
        if self._unsynced:
            self.sync()  # so that a frame of the next file is never durable before one of this
        chosen = self._take_free(size)
        if chosen is None:
            double = FILE_SIZE_MIN if current is None else current.size * 2
            wanted = max(size, min(double, HASTY_SIZE_MAX, FILE_SIZE_MAX))
            chosen = self._make_file(wanted, synced=False)  # the frame's sync does it
        self._begin(chosen)
        return chosen

    def _begin(self, file: _File) -> None:
        """Append to ``file`` from now on."""
        with self._lock:
            if self._current is not None:
                self._retired.append(self._current)
            self._current = file
            self._epoch = int.from_bytes(os.urandom(8), "little")
            self._position = 0
            self._begun = time.monotonic()
            file.first_sequence = self._next_sequence

    def _is_quick(self) -> bool:
        """Whether the present file is filling faster than files should."""
        return time.monotonic() - self._begun < QUICK_S

    def _next_size(self, current: _File) -> int:
        """The size of the file to make ahead: larger while writing is quick.

        Small files make every sync of the WAL compete with those that let them be used again. No
        more than half of what was written, so that a directory of few records stays small.
        """
        size = current.size
        if self._is_quick() and size * GROWTH <= self._written // 2:
            size *= GROWTH
        return min(size, FILE_SIZE_MAX)

    def _fill(self, descriptor: int, size: int) -> None:
        for position in range(0, size, len(_ZEROS)):
            self._files.write(descriptor, _ZEROS[: min(len(_ZEROS), size - position)], position)
            if position % _FILL_BURST == 0 and position:
                self._files.start_writeback(descriptor, position - _FILL_BURST, _FILL_BURST)

    def _floor_sequence(self, current: _File) -> int:
        """The oldest frame that recovery would still need."""
        with self._lock:
            return (self._retired[0] if self._retired else current).first_sequence

    def _take_free(self, size: int) -> _File | None:
        """The largest free file whose frames recovery would not ask for, even now."""
        with self._lock:
            fitting = [
                file
                for file in self._free
                if file.size >= size and file.last_sequence < self._stated_floor
            ]
            if not fitting:
                return None
            chosen = max(fitting, key=lambda file: file.size)
            self._free.remove(chosen)
            return chosen

    def _make_file(self, size: int, *, synced: bool) -> _File:
        """A file of zeros with a durable name; the zeros are durable too when ``synced``."""
        with self._lock:
            number = self._next_number
            self._next_number += 1
        path = layout.wal_file(self._directory, number)
        descriptor = self._files.open(path, write=True, create=True)
        try:
            self._fill(descriptor, size)
            if synced:
                self._files.sync(descriptor)
            self._files.sync_directory(self._directory)
        except OSError:
            self._files.close(descriptor)
            self._files.remove(path)
            raise
        return _File(number, path, descriptor, size)
