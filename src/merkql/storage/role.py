"""The writer role: which process may write now, and how it passes to the next.

All of these are flock locks, which the kernel releases when their holder dies. ``lock`` is the
role, held while a group is written. ``lock.queue`` is held by the process that waits next, so that
the last holder queues behind it. ``lock.sharers`` is held shared by every broker that may write:
the first to open and the last to close know that they are. A broker with ``exclusive=True`` holds
it exclusively, and the role, until it closes; it also holds ``lock.alone``, for others to probe.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable

from merkql.errors import DirectoryLockedError, WriterTimeoutError
from merkql.storage import layout
from merkql.storage.files import READ_INSTEAD, Files, explaining_unwritable
from merkql.storage.lock_holders import SOMEBODY, holders_of

logger = logging.getLogger("merkql.storage")
KEEP_MIN_S, KEEP_MAX_S = 0.001, 0.005  # the role is kept for twice the wait, within these
LINE_INTERVAL_S = 0.0005  # how often a lone writer checks whether anybody queues
LOOK_INTERVAL_S = 0.05  # how often a holder checks that its lock file is still in place
STOPPED_S = 0.25  # a turn that took longer checks that it still holds the role
REPLACED_S = LOOK_INTERVAL_S + STOPPED_S + 0.05  # by then holders of a removed lock file know
TELL_S = 1.0  # an open that waits longer logs a warning
_LOOK_STEP_S = 0.05  # how often a waiter checks whether an exclusive broker holds the role
LEAVING_S = 5.0  # so long the locks of a process that was killed may take to go, at most
_LEAVING_STEP_S = 0.001
_HOLDER_SIZE = 256
_all: weakref.WeakSet[WriterRole] = weakref.WeakSet()


class WriterRole:
    """One broker's share in the writer role. ``take`` and ``give`` are for the leader alone."""

    def __init__(self, files: Files, root: str) -> None:
        self._files = files
        self._root = root
        self.held = False
        self.taken_at = 0.0  # time.monotonic() of the last taking
        self.exclusive = False
        self._maybe_in_line = False  # of `try_take` and `wanted`, which the leader alone calls
        self._maybe_held = False  # set before the system is asked: an interruption may come between
        self._keep_until = self._looked_at = 0.0
        self._nobody_until = 0.0  # until then we assume that nobody queues
        self._inode = 0
        self._role = self._queue = self._sharers = self._alone = -1
        _all.add(self)  # first: another thread may fork while this one opens a directory
        with explaining_unwritable(root, READ_INSTEAD):
            self._open()

    def enter(self, *, exclusive: bool, timeout_s: float) -> bool:
        """Register as a writer and take the role; True if no other broker is registered.

        Raises ``DirectoryLockedError`` if another broker is exclusive, or if this one is to be and
        another is open; ``WriterTimeoutError`` if the role was not free within ``timeout_s``
        seconds.
        """
        if not self._try_lock(look=True):
            if exclusive or self._is_held_for_life():
                raise DirectoryLockedError(self._root, self.holder())
            if not self._wait_in_line(timeout_s, self._is_held_for_life):
                if self._is_held_for_life():
                    raise DirectoryLockedError(self._root, self.holder())
                raise WriterTimeoutError(self.holder(), timeout_s)
        is_new = not self._signature()
        self.sign()  # before the next lock: whoever finds that one taken asks who took it
        if exclusive:
            first = self._files.lock(self._sharers, wait=False)
            if not first:
                self.give()
                raise self._refusal()
            self.exclusive = True
            self._alone = self._files.open(layout.writer_alone(self._root), write=True, create=True)
            self._files.lock(self._alone)  # others only probe it and release it at once
        else:
            first = self._register()
        if is_new and not first:
            time.sleep(REPLACED_S)  # `lock` was removed; its holder may be writing a group
        return first

    def _register(self) -> bool:
        """Share the lock of the registered brokers; True if no other does.

        A process that is killed loses its locks one after the other: one that was alone may have
        that lock still when its role is free. Who took it for a live one would join its session.
        """
        deadline = time.monotonic() + LEAVING_S
        while not self._files.lock(self._sharers, exclusive=False, wait=False):
            if self._is_held_for_life() or time.monotonic() > deadline:
                raise self._refusal()  # an exclusive broker is there, its `lock` removed
            time.sleep(_LEAVING_STEP_S)
        first = self._files.lock(self._sharers, wait=False)
        if not self._files.lock(self._sharers, exclusive=False, wait=False):
            raise self._refusal()
        return first

    def _refusal(self) -> DirectoryLockedError:
        """The error naming the registered brokers; the lock file names only the last writer."""
        return DirectoryLockedError(self._root, holders_of(layout.writer_sharers(self._root)))

    def try_take(self) -> bool:
        """Take the role if it is free and nobody queues for it, or did a moment ago."""
        if self.held:
            return True
        now = time.monotonic()
        self._leave_line()  # an interruption may have left us in the queue
        if now < self._nobody_until:
            if not self._try_lock(look=False):
                self._nobody_until = 0.0
            return self.held
        try:
            if not self._enter_line():
                return False
            if self._try_lock(look=False):
                self._nobody_until = now + LINE_INTERVAL_S
            return self.held
        finally:
            self._leave_line()

    def _enter_line(self) -> bool:
        self._maybe_in_line = True  # before, as with the role itself
        if not self._files.lock(self._queue, wait=False):
            self._maybe_in_line = False
        return self._maybe_in_line

    def _leave_line(self) -> None:
        if self._maybe_in_line:
            self._files.unlock(self._queue)
            self._maybe_in_line = False

    def take(self) -> bool:
        """Queue for the role until it is ours; False if it is closed meanwhile.

        Cannot be interrupted, so it is never called by a caller's thread.
        """
        began = time.monotonic()
        self._nobody_until = 0.0
        while not self.held:
            if self._queue < 0:
                return False
            self._open_missing()
            queue, role = self._queue, self._role
            self._files.lock(queue)
            if self._queue != queue:
                return False  # closed meanwhile: the old descriptor may be another file's now
            try:
                self._maybe_held = True
                self._files.lock(role)
            finally:
                if self._queue == queue:  # else closed: the descriptor may be another file's now
                    self._files.unlock(queue)
            if self._role == role:
                self._settle(look=True)
        waited_s = self.taken_at - began
        self._keep_until = self.taken_at + min(max(2 * waited_s, KEEP_MIN_S), KEEP_MAX_S)
        return True

    @property
    def keeps(self) -> bool:
        """Whether it may be kept for another group although others queue: we queued for it."""
        return self._keep_until > 0 and self.held and time.monotonic() < self._keep_until

    @property
    def is_due(self) -> bool:
        """Whether another process queues for the role and it is time to hand it over."""
        return not self.keeps and self.wanted

    def wait(self, timeout_s: float) -> bool:
        """Take the role in our turn; False after the timeout: then this must be closed."""
        return self.held or self._try_lock(look=False) or self._wait_in_line(timeout_s)

    def _wait_in_line(self, timeout_s: float, ends: Callable[[], bool] = lambda: False) -> bool:
        """``take`` for a caller's thread: a helper thread waits and can be abandoned."""
        has_it = threading.Lock()
        has_it.acquire()
        failures: list[OSError] = []  # of the disk under the lock files: the caller's to know

        def wait() -> None:
            try:
                if not self.take():
                    return
            except OSError as error:
                failures.append(error)
            has_it.release()

        threading.Thread(target=wait, name="merkql-line", daemon=True).start()
        patience = Patience(self, timeout_s)
        deadline = time.monotonic() + timeout_s
        while not has_it.acquire(timeout=min(_LOOK_STEP_S, max(0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline or ends():
                return False
            if deadline - time.monotonic() < timeout_s - TELL_S:
                patience.tell()
        if failures:
            raise failures[0]
        return True

    @property
    def wanted(self) -> bool:
        """Whether another process queues for the role."""
        if self.exclusive:
            return False
        if not self._enter_line():
            self._nobody_until = 0.0
            return True
        self._leave_line()
        return False

    def give(self) -> None:
        """Release the role for the next process; does nothing in an exclusive broker."""
        if self._maybe_held and not self.exclusive:
            self.held = self._maybe_held = False
            self._keep_until = 0.0
            self._files.unlock(self._role)

    def is_last(self) -> bool:
        """Whether no other broker has the directory open to write; for a holder that closes."""
        return self.exclusive or self._files.lock(self._sharers, wait=False)

    def sign(self) -> None:
        """Write this process's name into the lock file, for the messages of those who wait."""
        text = f"process {os.getpid()} ({program_name()})\n"
        self._files.write(self._role, text.encode()[:_HOLDER_SIZE].ljust(_HOLDER_SIZE, b"\0"), 0)

    def holder(self) -> str:
        """Who holds the role, in words, and whether that process is stopped, where known."""
        found = holders_of(layout.writer_lock(self._root))
        return found if found.endswith("stopped)") else self._signature() or SOMEBODY

    def close(self) -> None:
        """Release all locks."""
        for descriptor in (self._role, self._sharers, self._alone):
            if descriptor >= 0:
                self._files.unlock(descriptor)  # a fork of this moment may have it open
        self.disown()

    def disown(self) -> None:
        """In a forked child: close the files, which leaves every lock with the parent."""
        descriptors = (self._role, self._queue, self._sharers, self._alone)
        self.held = self._maybe_held = False
        self._role = self._queue = self._sharers = self._alone = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                self._files.close(descriptor)

    @property
    def is_in_place(self) -> bool:
        """Whether the lock file we hold is still the one other processes would open."""
        status = self._files.status(layout.writer_lock(self._root))
        found = status is not None and status.st_ino == self._inode
        self._looked_at = time.monotonic() if found else 0.0  # 0: the next turn checks again
        return found

    def _open(self) -> None:
        for path in (layout.writer_queue(self._root), layout.writer_sharers(self._root)):
            descriptor = self._files.open(path, write=True, create=True)
            if self._queue < 0:
                self._queue = descriptor
            else:
                self._sharers = descriptor
        self._open_lock()

    def _open_lock(self) -> None:
        path = layout.writer_lock(self._root)
        self._role = self._files.open(path, write=True, create=True)
        self._inode = os.fstat(self._role).st_ino

    def _open_missing(self) -> None:
        """Open the lock file again where the last attempt failed."""
        if self._role < 0:
            self._open_lock()

    def _try_lock(self, *, look: bool) -> bool:
        self._open_missing()
        self._maybe_held = True
        if not self._files.lock(self._role, wait=False):
            self._maybe_held = False
            return False
        self._settle(look=look)
        return self.held

    def _settle(self, *, look: bool) -> None:
        """We were granted the lock: check that it is of the file now in place."""
        now = time.monotonic()
        if (look or now - self._looked_at > LOOK_INTERVAL_S) and not self.is_in_place:
            self._maybe_held = False
            stale, self._role = self._role, -1  # first: the descriptor may soon be another file's
            self._files.close(stale)
            self._open_lock()
            time.sleep(REPLACED_S)  # the old file's holder may be in the middle of a group
            return
        self.taken_at = now
        self.held = True

    def _is_held_for_life(self) -> bool:
        """Whether an exclusive broker has the directory."""
        try:
            descriptor = self._files.open(layout.writer_alone(self._root))
        except FileNotFoundError:
            return False
        try:
            return not self._files.lock(descriptor, exclusive=False, wait=False)
        finally:
            self._files.release(descriptor)

    def _signature(self) -> str:
        if self._role < 0:
            return ""
        text = self._files.read(self._role, _HOLDER_SIZE, 0).decode(errors="replace")
        return text.strip("\0\n")


class Patience:
    """How long one call waits for another process to release the role, and the warning it logs."""

    def __init__(self, role: WriterRole, timeout_s: float) -> None:
        self._role = role
        self._timeout_s = timeout_s
        self._began = time.monotonic()
        self._told = False

    def check(self) -> None:
        """Log who holds the role, once; ``WriterTimeoutError`` when it took too long."""
        if self._role.held:
            return
        waited_s = time.monotonic() - self._began
        if waited_s >= self._timeout_s:
            raise WriterTimeoutError(self._role.holder(), waited_s)
        self.tell()

    def tell(self) -> None:
        """Log who holds the role, once."""
        if not self._told:
            self._told = True
            holder = self._role.holder()
            logger.warning("waiting for %s, which has the writer role and keeps it", holder)


def program_name() -> str:
    """The name of this process in messages to others."""
    return os.path.basename(sys.argv[0] if sys.argv else "") or "python"


def _close_in_child() -> None:
    for role in list(_all):
        role.disown()


os.register_at_fork(after_in_child=_close_in_child)
