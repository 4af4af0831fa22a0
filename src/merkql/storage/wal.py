"""The write-ahead log: one write and one sync for a group, however many partitions it touches.

Its files hold real zeros before they are used and are recycled afterwards, so that a commit
overwrites written blocks and no sync has to make metadata durable. Format: docs/formats/frame.md.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from merkql._core import frame
from merkql.errors import again
from merkql.storage import layout
from merkql.storage.entries import wal_files
from merkql.storage.files import Files
from merkql.storage.shared_state import (
    CURRENT,
    FILES_MAX,
    FREE,
    RETIRED,
    SharedState,
)
from merkql.storage.wal_files import WalFile, WalFileMaker

if TYPE_CHECKING:
    from collections.abc import Callable

FILE_SIZE_MIN = 128 << 10
FILE_SIZE_MAX = 16 << 20
QUIET_SIZE_MAX = 1 << 20
GROWTH = 4
QUICK_S = 1.0  # files that fill faster than this are followed by larger ones
HASTY_SIZE_MAX = 1 << 20  # of a file the writer creates itself, as it waits for the zeros
ADOPTED_FILES_MAX = 3
LEFT_FILES_MAX = 2  # full files left to the process that filled them


class Wal:
    """Appends frames. ``append`` is for one thread at a time, the other methods for any.

    Processes take turns at it: ``describe`` is what one leaves, ``restore`` what the next goes on
    from.
    """

    def __init__(self, files: Files, directory: str, *, seed: int, next_sequence: int) -> None:
        self._files = files
        self._directory = directory
        self._seed = seed
        self._lock = threading.Lock()  # guards the lists of files
        self._free: list[WalFile] = []
        self._retired: list[WalFile] = []
        self._current: WalFile | None = None
        self._maker = WalFileMaker(files, directory)
        self._epoch = 0
        self._position = 0
        self._begun = 0.0  # when the current file was begun
        self._written = 0  # bytes of frames in this session, without their padding, by anybody
        self._unsynced = False
        self.failed: OSError | None = None  # of a sync: nothing may be appended any more
        self._next_sequence = next_sequence
        self._durable_sequence = next_sequence - 1
        self._stated_floor = 0  # by the newest frame: what recovery takes as its beginning
        self._surplus: list[WalFile] = []
        self._made: list[WalFile] = []  # created by this process and not published yet
        self._released = 0  # the newest group whose records this process knows synced
        self._claimed = False  # this process is creating the next file
        self._ended_one = False  # this process filled a file, and is to free it
        self._preparing = False  # some process is creating the next file
        self.on_new_file: Callable[[], None] = lambda: None  # before its first frame is written

    def adopt_files(self) -> None:
        """Reuse the files of earlier sessions, whose frames are no longer needed.

        They are overwritten only once a durable frame of this session says so: recovery may still
        read them.
        """
        for name in self._files.list_directory(self._directory):
            number = layout.parse_wal_file(name.removesuffix(layout.KEPT_SUFFIX)) or 0
            self._maker.next_number = max(self._maker.next_number, number + 1)
        for number, path in wal_files(self._files, self._directory):
            descriptor = self._files.open(path, write=True)
            size = self._files.size(descriptor) & -frame.ALIGNMENT
            last = self._next_sequence - 1
            self._free.append(WalFile(number, path, descriptor, size, last_sequence=last))
        self._free.sort(key=lambda file: file.size, reverse=True)
        self._surplus = self._free[ADOPTED_FILES_MAX:]
        del self._free[ADOPTED_FILES_MAX:]

    @property
    def last_sequence(self) -> int:
        """The sequence number of the newest frame appended."""
        return self._next_sequence - 1

    @property
    def has_unsynced(self) -> bool:
        """Whether frames of ``disk`` topics are not synced yet."""
        return self._unsynced

    @property
    def is_large(self) -> bool:
        """Whether the files hold more than a quiet log needs."""
        with self._lock:
            files = [*self._free, *self._retired]
        current = self._current
        return sum(f.size for f in files) + (current.size if current else 0) > QUIET_SIZE_MAX

    def describe(self, state: SharedState, *, synced: bool = False) -> None:
        """Write down what a successor needs to continue; ``synced``: after the next sync."""
        with self._lock:
            self._free += self._made
            self._made = []
            state.files = [file.stated(RETIRED) for file in self._retired]
            if self._current is not None:
                state.files.append(self._current.stated(CURRENT))
            state.files += [file.stated(FREE) for file in self._free]
            if len(state.files) > FILES_MAX:
                state.files, state.busy = [], True  # a successor recovers instead
            state.epoch, state.position = self._epoch, self._position
            state.next_sequence = self._next_sequence
            state.durable_sequence = self.last_sequence if synced else self._durable_sequence
            state.stated_floor = self._stated_floor
            state.next_number = self._maker.next_number
            state.preparing = self._preparing
            state.written = self._written

    def restore(self, state: SharedState) -> None:
        """Continue where another process left off; ``FileNotFoundError`` if a file is missing."""
        with self._lock:
            open_files = [*self._free, *self._retired, *filter(None, [self._current])]
            known = {file.number: file for file in open_files}
            lists: tuple[list[WalFile], ...] = ([], [], [])
            for stated in state.files:
                file = known.pop(stated.number, None) or self._maker.open(stated)
                file.first_sequence = stated.first_sequence
                file.last_sequence = stated.last_sequence
                lists[stated.kind].append(file)
            self._free, self._retired = lists[FREE], lists[RETIRED]
            current = lists[CURRENT][0] if lists[CURRENT] else None
            if current is not self._current:
                self._current, self._begun = current, time.monotonic()
            while known:  # no longer in use; popped so that a Ctrl-C leaves none to be closed twice
                self._files.close(known.popitem()[1].descriptor)
            self._epoch, self._position = state.epoch, state.position
            self._next_sequence = state.next_sequence
            self._durable_sequence = state.durable_sequence
            self._unsynced = state.durable_sequence < state.next_sequence - 1
            self._stated_floor = state.stated_floor
            self._written = max(self._written, state.written)
            self._maker.next_number = max(self._maker.next_number, state.next_number)
            self._preparing = state.preparing and not self._made
        self.release(self._released)  # synced by this process, and not published yet

    def unfinished(self) -> frame.Frame | None:
        """The sound frame after the last one published, if its writer died; else None."""
        current = self._current
        if current is None:
            return None
        head = self._files.read(current.descriptor, frame.HEADER.size, self._position)
        if not frame.is_of(head, self._epoch, self._position):
            return None
        size = frame.stated_size(head, self._position) or 0
        content = self._files.read(current.descriptor, min(size, current.size), self._position)
        found = frame.decode(content, self._position, self._seed)
        is_next = found is not None and found.sequence == self._next_sequence
        return found if is_next else None

    def accept(self, unfinished: frame.Frame) -> None:
        """Count the frame that ``unfinished`` found as appended; durable after ``sync``."""
        assert self._current is not None  # it is where the frame was found
        self._stated_floor = unfinished.floor_sequence
        self._current.last_sequence = unfinished.sequence
        self._position = unfinished.next_position
        self._next_sequence = unfinished.sequence + 1
        self._unsynced = True

    def append(self, sections: tuple[frame.Section, ...], *, sync_follows: bool = False) -> None:
        """Write one frame, durable after ``sync``. An ``OSError`` leaves the log as it was.

        ``sync_follows``: have the disk begin to write now, while the caller prepares what is next.
        """
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
        if sync_follows:
            self._files.start_writeback(current.descriptor, self._position, padded_size)
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
                with contextlib.suppress(OSError):  # a file that stays is adopted the next time
                    self._remove(surplus)

    def release(self, sequence: int) -> None:
        """Free the files whose frames, up to ``sequence``, are durable in the segments."""
        with self._lock:
            self._released = max(self._released, sequence)
            kept = [file for file in self._retired if file.last_sequence > sequence]
            freed = [file for file in self._retired if file.last_sequence <= sequence]
            self._retired, self._free = kept, self._free + freed  # at once, for a Ctrl-C's sake
            self._ended_one = self._ended_one and bool(kept)

    @property
    def wants_release(self) -> bool:
        """Whether files wait for this process to sync their records into the segments.

        The process that filled a file does so; others step in when it is gone or never writes.
        """
        return len(self._retired) > (0 if self._ended_one else LEFT_FILES_MAX)

    @property
    def wants_file(self) -> bool:
        """Whether a file should be created now, before the writer needs it."""
        current = self._current
        if current is None or self._position * 2 <= current.size or self._preparing:
            return False
        wanted = self._next_size(current) if self._is_quick() else 0
        with self._lock:
            return not any(file.size >= wanted for file in (*self._free, *self._made))

    def claim_file(self) -> bool:
        """Whether this process is to create the next file; others then leave it to this one."""
        if self.wants_file:
            self._preparing = self._claimed = True
        return self._claimed

    def prepare_file(self) -> None:
        """Create the claimed file, filled with zeros, off every writer's path."""
        current = self._current
        if current is None or not self._claimed:
            return
        try:
            file = self._maker.make(self._next_size(current), synced=True)
            with self._lock:
                self._made.append(file)
        finally:
            self._claimed = self._preparing = False

    def discard(self) -> None:
        """Remove every file, once no frame is needed any more.

        An empty frame in a new file says so first, durably, for a crash in between.
        """
        fresh = self._maker.make(FILE_SIZE_MIN, synced=False)
        self._surplus = self._take_all()
        self._begin(fresh)
        self.append(())
        self.sync()  # this removes them
        self._files.sync_directory(self._directory)

    def close(self, *, clean: bool) -> None:
        """Close the files and, after a clean close, remove them: nothing in them is needed."""
        everything = self._take_all()
        if clean:
            # The newest first, and durably: what a crash leaves of them, once the clean mark is
            # gone again, must not ask for groups in a file that is not there.
            everything.sort(key=lambda file: file.last_sequence, reverse=True)
            self._remove(everything)
            for _, path in wal_files(self._files, self._directory):
                self._files.remove(path)  # created by a process that died before it published it
            if everything:
                self._files.sync_directory(self._directory)
            return
        for file in everything:
            self._files.close(file.descriptor)

    def disown(self) -> None:
        """In a forked child: close the files, which are the parent's."""
        self._lock = threading.Lock()
        for file in {file.number: file for file in self._take_all()}.values():
            descriptor, file.descriptor = file.descriptor, -1
            self._files.close(descriptor)

    def _take_all(self) -> list[WalFile]:
        with self._lock:
            everything = [*self._free, *self._retired, *self._surplus, *self._made]
            self._made = []
            if self._current is not None:
                everything.append(self._current)
            self._free, self._retired, self._surplus, self._current = [], [], [], None
        return everything

    def _remove(self, files: list[WalFile]) -> None:
        for file in files:
            self._files.close(file.descriptor)
            self._files.remove(file.path)

    def _file_with_room(self, size: int) -> WalFile:
        current = self._current
        if current is not None and self._position + size <= current.size:
            return current
        if self._unsynced:
            self.sync()  # so that a frame of the next file is never durable before one of this
        chosen = self._take_free(size)
        if chosen is None:
            usual = FILE_SIZE_MIN if current is None else self._next_size(current)
            wanted = max(size, min(usual, HASTY_SIZE_MAX, FILE_SIZE_MAX))
            chosen = self._maker.make(wanted, synced=False)  # the frame's sync does it
            self._preparing = self._claimed  # another process that claimed one has not created it
        self._begin(chosen)
        return chosen

    def _begin(self, file: WalFile) -> None:
        """Append to ``file`` from now on, and publish that before its first frame."""
        with self._lock:
            if self._current is not None:
                self._retired.append(self._current)
                self._ended_one = True
            self._current = file
            self._epoch = int.from_bytes(os.urandom(8), "little")
            self._position = 0
            self._begun = time.monotonic()
            file.first_sequence = self._next_sequence
        self.on_new_file()

    def _is_quick(self) -> bool:
        """Whether the current file is filling faster than files should."""
        return time.monotonic() - self._begun < QUICK_S

    def _next_size(self, current: WalFile) -> int:
        """The size of the next file: larger while writing is fast.

        With small files the syncs that free them would compete with those of the WAL. At most half
        of what was written, so that a directory with few records stays small.
        """
        size = current.size
        if self._is_quick() and size * GROWTH <= self._written // 2:
            size *= GROWTH
        return min(size, FILE_SIZE_MAX)

    def _floor_sequence(self, current: WalFile) -> int:
        """The oldest frame that recovery would still need."""
        with self._lock:
            return (self._retired[0] if self._retired else current).first_sequence

    def _take_free(self, size: int) -> WalFile | None:
        """The largest free file whose frames recovery would not ask for, even now."""
        with self._lock:
            self._free += self._made
            self._made = []
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
