"""A pool of open file descriptors by path, with a limit, shared by all threads of a broker.

A log of a thousand topics has more files than a process may open. A file stays open after its use
until its place is needed. One with unsynced critical writes is synced before it is closed, so that
no write error is lost with its descriptor.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import stat
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from merkql.storage.files import Files

if TYPE_CHECKING:
    from typing_extensions import Buffer

# No sync was tried, so nothing is lost: no free descriptor, or the file is gone.
_NOT_TRIED = (errno.EMFILE, errno.ENFILE, errno.ENOENT)


class _Open:
    """A descriptor, its current users, and whether it has unsynced critical writes."""

    __slots__ = ("closed", "descriptor", "dirty", "doomed", "pins", "used", "writable")

    def __init__(self, descriptor: int, *, writable: bool) -> None:
        self.descriptor = descriptor
        self.writable = writable
        self.pins: list[None] = []  # one for each use in progress; append and pop need no lock
        self.used = 0  # the larger, the later
        self.dirty = False
        self.doomed = False  # no longer in the pool: closed by its last user
        self.closed = False


class FilePool:
    """Reads and writes by path over at most ``capacity`` open files (more while all are in use)."""

    def __init__(self, files: Files, capacity: int = 64) -> None:
        self.files = files
        self._pread = files.read
        self._capacity = capacity
        self._open: dict[str, _Open] = {}
        self._uses = itertools.count(1)
        self._lock = threading.Lock()
        self.on_failed_sync: Callable[[OSError], None] | None = None

    def read(self, path: str, size: int, position: int) -> bytes:
        """At most ``size`` bytes, fewer at the end of the file; ``FileNotFoundError`` if none."""
        # `_pin` and `_unpin` inlined: proofs and single reads depend on this call.
        entry = self._open.get(path)
        if entry is None:
            entry = self._open_pinned(path, write=False, create=False)
        else:
            entry.pins.append(None)
            if self._open.get(path) is entry:
                entry.used = next(self._uses)
            else:  # it was evicted before it was pinned
                self._unpin(entry)
                entry = self._open_pinned(path, write=False, create=False)
        try:
            return self._pread(entry.descriptor, size, position)
        finally:
            entry.pins.pop()
            if entry.doomed:
                self._close_if_unused(entry)

    def read_into(self, path: str, buffer: bytearray | memoryview, position: int) -> int:
        """Fill ``buffer`` from the file; returns the number of bytes read."""
        entry = self._pin(path)
        try:
            return self.files.read_into(entry.descriptor, buffer, position)
        finally:
            self._unpin(entry)

    def write(self, path: str, data: Buffer, position: int, *, critical: bool = False) -> None:
        """Write all of ``data``, creating the file if needed; durable after ``sync``.

        ``critical``: the bytes cannot be derived from others.
        """
        entry = self._pin(path, write=True)
        try:
            self.files.write(entry.descriptor, data, position)
            if critical:
                entry.dirty = True
        finally:
            entry.pins.pop()  # as in `read`: each record sent alone takes four of these
            if entry.doomed:
                self._close_if_unused(entry)

    def allocate(self, path: str, position: int, size: int) -> None:
        """Reserve space for later writes; the file reads as zeros there until then."""
        entry = self._pin(path, write=True)
        try:
            self.files.allocate(entry.descriptor, position, size)
        finally:
            self._unpin(entry)

    def truncate(self, path: str, size: int) -> None:
        entry = self._pin(path, write=True)
        try:
            self.files.truncate(entry.descriptor, size)
        finally:
            self._unpin(entry)

    def sync(self, path: str) -> None:
        """Make what was written to ``path`` durable; for its name, sync its directory.

        ``FileNotFoundError`` if the file is gone: a new one of its name would hold nothing.
        """
        entry = self._pin(path, write=True, create=False)
        try:
            entry.dirty = False  # before the call: a write during it makes the file dirty again
            self._sync(entry)
        finally:
            self._unpin(entry)

    def start_writeback(self, path: str, position: int, size: int) -> None:
        """Begin to write a range of the file out, so that its sync finds little to do."""
        entry = self._pin(path, write=True)
        try:
            self.files.start_writeback(entry.descriptor, position, size)
        finally:
            self._unpin(entry)

    def size(self, path: str) -> int:
        """The file's size in bytes; ``FileNotFoundError`` if it is not there."""
        entry = self._pin(path)
        try:
            return self.files.size(entry.descriptor)
        finally:
            self._unpin(entry)

    def next_data(self, path: str, position: int) -> int | None:
        """The first position at or after ``position`` that holds data; None if there is none."""
        entry = self._pin(path)
        try:
            return self.files.next_data(entry.descriptor, position)
        finally:
            self._unpin(entry)

    def size_of(self, path: str) -> int | None:
        """The file's size in bytes, or None if it is missing; does not open it."""
        if path in self._open:
            return self.size(path)
        status = self.files.status(path)
        if status is not None and not stat.S_ISREG(status.st_mode):
            return self.size(path)  # which says what is wrong with it
        return status.st_size if status is not None else None

    def exists(self, path: str) -> bool:
        return path in self._open or self.files.status(path) is not None

    def is_replaced(self, path: str) -> bool:
        """Whether ``path`` now names another file than the one open here, or none."""
        entry = self._open.get(path)
        if entry is None or entry.closed:
            return False
        status = self.files.status(path)
        if status is None:
            return True
        entry = self._pin(path)
        try:
            known = self.files.identity(entry.descriptor)
        finally:
            self._unpin(entry)
        return known != (status.st_dev, status.st_ino)

    def remove(self, path: str) -> None:
        """Remove the file; reads in progress finish."""
        self.forget(path)
        self.files.remove(path)

    def rename(self, source: str, target: str) -> None:
        self.forget(source)
        self.forget(target)
        self.files.rename(source, target)

    def sync_names(self, directory: str) -> None:
        """Make the names in ``directory`` durable."""
        try:
            self.files.sync_directory(directory)
        except OSError as error:
            self._report_failure(error)
            raise

    def forget(self, path: str, *, below: bool = False) -> None:
        """Close ``path`` (or everything below a directory) unsynced: it is about to be removed."""
        with self._lock:
            prefix = path + "/"
            paths = [p for p in self._open if p.startswith(prefix)] if below else [path]
            for name in paths:
                entry = self._open.pop(name, None)
                if entry is not None:
                    entry.dirty = False
                    self._close_or_doom(entry)

    def close(self) -> None:
        """Close every descriptor; those in use are closed by their last user."""
        with self._lock:
            while self._open:
                _, entry = self._open.popitem()
                self._close_or_doom(entry)

    def disown(self) -> None:
        """In a forked child: close the parent's files, or their space could never be freed.

        Locks held and files in use at the fork are the parent's.
        """
        self._lock = threading.Lock()
        entries, self._open = list(self._open.values()), {}
        for entry in [one for one in entries if not one.closed]:
            descriptor, entry.descriptor, entry.closed = entry.descriptor, -1, True
            self.files.close(descriptor)

    def _pin(self, path: str, *, write: bool = False, create: bool = True) -> _Open:
        entry = self._open.get(path)
        if entry is not None and (entry.writable or not write):
            entry.pins.append(None)
            if self._open.get(path) is entry:  # else it was evicted before it was pinned
                entry.used = next(self._uses)
                return entry
            self._unpin(entry)
        return self._open_pinned(path, write=write, create=write and create)

    def _open_pinned(self, path: str, *, write: bool, create: bool) -> _Open:
        with self._lock:
            entry = self._open.get(path)
            if entry is None or (write and not entry.writable):
                if entry is not None:
                    self._close_or_doom(self._open.pop(path))
                self._make_room()
                descriptor = self.files.open(path, write=write, create=create)
                entry = self._open[path] = _Open(descriptor, writable=write)
            entry.pins.append(None)
            entry.used = next(self._uses)
            return entry

    def _unpin(self, entry: _Open) -> None:
        entry.pins.pop()
        if entry.doomed:
            self._close_if_unused(entry)

    def _close_if_unused(self, entry: _Open) -> None:
        if not entry.pins:
            with self._lock:
                self._close_or_doom(entry)

    def _make_room(self) -> None:
        """Close some of the least recently used files, preferring those that need no sync.

        Several at once, because finding them means looking at all.
        """
        if len(self._open) < self._capacity:
            return
        idle = [(e.dirty, e.used, path) for path, e in list(self._open.items()) if not e.pins]
        for dirty, _, path in heapq.nsmallest(max(1, self._capacity // 16), idle):
            if dirty:
                self._sync(self._open[path])
            self._close_or_doom(self._open.pop(path))
            if dirty:
                return  # one such sync is enough to wait for

    def _sync(self, entry: _Open) -> None:
        try:
            self.files.sync(entry.descriptor)
        except OSError as error:
            self._report_failure(error)
            raise

    def _report_failure(self, error: OSError) -> None:
        """Report a failed sync as final: a retry may succeed without the data."""
        if self.on_failed_sync is not None and error.errno not in _NOT_TRIED:
            self.on_failed_sync(error)

    def _close_or_doom(self, entry: _Open) -> None:
        """Close an entry taken out of the pool, now or after its last use."""
        entry.doomed = True  # first: whoever unpins it after the next line closes it
        if not entry.pins and not entry.closed:
            entry.closed = True
            self.files.close(entry.descriptor)
