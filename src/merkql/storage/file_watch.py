"""Waits until a watched file is written by any process, or until woken.

By inotify on Linux and kqueue on macOS. Where neither works, or a limit is reached, ``is_complete``
is False and the caller has to poll. One thread at a time waits; ``wake`` may come from any.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import struct
import sys
import threading
from collections.abc import Iterable
from typing import Any

logger = logging.getLogger("merkql.storage")

# A limit of the kernel is reached, or there is no such call: poll instead.
_LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM, errno.ENOSYS)
_EVENT = struct.Struct("=iIII")  # inotify: watch, mask, cookie, length of the name that follows
_IN_MODIFY = 0x2
_IN_ATTRIB = 0x4  # sent when the last name is removed
_IN_DELETE_SELF = 0x400
_IN_MOVE_SELF = 0x800
_IN_MASK = _IN_MODIFY | _IN_ATTRIB | _IN_DELETE_SELF | _IN_MOVE_SELF
_READ_SIZE = 4096


class FileWatch:
    """Without kernel support: waits for ``wake`` alone."""

    is_complete = False  # whether every path is watched, so that nothing can be missed

    def __init__(self) -> None:
        self._latch = threading.Lock()
        self._latch.acquire()

    def follow(self, paths: Iterable[str]) -> None:
        """Watch exactly these paths; call again to retry those that could not be watched."""

    def wait(self, timeout: float) -> bool:
        """Block for at most ``timeout`` seconds; True if a file was written, as far as known."""
        self._latch.acquire(timeout=timeout)
        return False

    def wake(self) -> None:
        """End the current wait, or the next one."""
        try:
            self._latch.release()
        except RuntimeError:
            pass  # unlocked: it was woken already and has not waited since

    def close(self) -> None:
        """Release the descriptors; no thread waits any more."""

    def forget(self) -> None:
        """In a forked child: drop what is the parent's."""
        self.close()


class _Pipe:
    """A self-pipe: wakes a thread that polls descriptors."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(self._writing, False)

    def wake(self) -> None:
        try:
            os.write(self._writing, b"\0")
        except BlockingIOError:
            pass  # full, so it wakes anyway

    def drain(self) -> None:
        try:
            os.read(self.reading, _READ_SIZE)
        except BlockingIOError:
            pass  # empty: an earlier wait drained it

    def close(self) -> None:
        os.close(self.reading)
        os.close(self._writing)


class InotifyWatch(FileWatch):
    """For Linux. Equal events in a row are merged, so a busy writer fills no queue."""

    def __init__(self) -> None:
        import ctypes  # slow to import and needed only by waiters

        super().__init__()
        self._library: Any = ctypes.CDLL(None, use_errno=True)
        self._queue: int = self._library.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._queue < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), "inotify")
        try:
            self._pipe = _Pipe()
        except OSError:
            os.close(self._queue)
            raise
        self._poll = select.poll()
        for descriptor in (self._queue, self._pipe.reading):
            self._poll.register(descriptor, select.POLLIN)
        self._watches: dict[str, int] = {}

    def follow(self, paths: Iterable[str]) -> None:
        wanted = set(paths)
        for path in self._watches.keys() - wanted:
            self._library.inotify_rm_watch(self._queue, self._watches.pop(path))
        self.is_complete = True
        for path in wanted - self._watches.keys():
            watch = self._library.inotify_add_watch(self._queue, os.fsencode(path), _IN_MASK)
            if watch >= 0:
                self._watches[path] = watch
            else:  # missing, or at the kernel's limit: the caller polls
                self.is_complete = False

    def wait(self, timeout: float) -> bool:
        ready = [descriptor for descriptor, _ in self._poll.poll(_milliseconds(timeout))]
        if self._pipe.reading in ready:
            self._pipe.drain()
        if self._queue not in ready:
            return False
        events = os.read(self._queue, _READ_SIZE)
        position = 0
        while position < len(events):
            watch, mask, _, length = _EVENT.unpack_from(events, position)
            position += _EVENT.size + length
            if mask != _IN_MODIFY:
                self._lose(watch)
        return True

    def _lose(self, watch: int) -> None:
        """The path may name another file now: it has to be watched anew."""
        for path in [path for path, one in self._watches.items() if one == watch]:
            del self._watches[path]
            self._library.inotify_rm_watch(self._queue, watch)
            self.is_complete = False

    def wake(self) -> None:
        self._pipe.wake()

    def close(self) -> None:
        self._pipe.close()
        os.close(self._queue)


class KqueueWatch(FileWatch):
    """For macOS. Keeps each watched file open."""

    def __init__(self) -> None:
        super().__init__()
        self._kernel: Any = select  # as Any: the kqueue names exist on macOS only
        self._queue = self._kernel.kqueue()
        try:
            self._pipe = _Pipe()
        except OSError:
            self._queue.close()
            raise
        self._add(self._pipe.reading, self._kernel.KQ_FILTER_READ, self._kernel.KQ_EV_ADD, 0)
        self._files: dict[str, int] = {}

    def _add(self, descriptor: int, kind: int, flags: int, notes: int) -> None:
        event = self._kernel.kevent(descriptor, filter=kind, flags=flags, fflags=notes)
        self._queue.control([event], 0, 0)

    def follow(self, paths: Iterable[str]) -> None:
        wanted = set(paths)
        for path in self._files.keys() - wanted:
            os.close(self._files.pop(path))  # and what was noted about it
        self.is_complete = True
        for path in wanted - self._files.keys():
            try:
                self._follow(path)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, *_LIMITS):
                    raise
                self.is_complete = False  # the caller polls, and this is retried

    def _follow(self, path: str) -> None:
        kernel = self._kernel
        descriptor = os.open(path, getattr(os, "O_EVTONLY", os.O_RDONLY) | os.O_CLOEXEC)
        notes = kernel.KQ_NOTE_WRITE | kernel.KQ_NOTE_EXTEND
        notes |= kernel.KQ_NOTE_DELETE | kernel.KQ_NOTE_RENAME
        flags = kernel.KQ_EV_ADD | kernel.KQ_EV_CLEAR
        try:
            self._add(descriptor, kernel.KQ_FILTER_VNODE, flags, notes)
        except OSError:
            os.close(descriptor)
            raise
        self._files[path] = descriptor

    def wait(self, timeout: float) -> bool:
        gone = self._kernel.KQ_NOTE_DELETE | self._kernel.KQ_NOTE_RENAME
        written = False
        for event in self._queue.control(None, 64, timeout):
            if event.ident == self._pipe.reading:
                self._pipe.drain()
                continue
            written = True
            if event.fflags & gone:
                for path in [path for path, one in self._files.items() if one == event.ident]:
                    os.close(self._files.pop(path))
                    self.is_complete = False
        return written

    def wake(self) -> None:
        self._pipe.wake()

    def close(self) -> None:
        self._queue.close()
        self._close_files()

    def forget(self) -> None:
        # A kqueue is not inherited, so its descriptor may be another file's here: never close it.
        _kept_from_parent.append(self._queue)
        self._close_files()

    def _close_files(self) -> None:
        self._pipe.close()
        while self._files:
            os.close(self._files.popitem()[1])


_kept_from_parent: list[object] = []


def open_watch() -> FileWatch:
    """The best kind of watch this system offers."""
    kind: type[FileWatch] = FileWatch
    if sys.platform == "linux":
        kind = InotifyWatch
    elif hasattr(select, "kqueue"):
        kind = KqueueWatch
    try:
        return kind()
    except (OSError, AttributeError) as error:  # AttributeError: a C library without the calls
        if isinstance(error, OSError) and error.errno not in _LIMITS:
            raise
        logger.info("files cannot be watched and are polled instead: %s", error)
        return FileWatch()


def _milliseconds(seconds: float) -> int:
    return -int(-seconds * 1000 // 1)
