"""The lock of a consumer group, and how the group continues without a stuck holder.

A kernel lock cannot be broken. So the group moves on to another *epoch*: a directory with a lock
and files of its own. A process left behind, perhaps stopped, writes where nobody looks any more,
and finds that out before its call ends (fencing). Format: docs/formats/group-offsets.md.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import xxhash

from merkql.errors import GroupLockedError
from merkql.storage import layout
from merkql.storage.entries import is_directory
from merkql.storage.files import Files, explaining_unwritable
from merkql.storage.lock_holders import holders_of

logger = logging.getLogger("merkql.groups")

LOCK_PATIENCE_MS = 3000
LOCK_PATIENCE_S_MIN = 1.0  # leaves room for a commit's sync on a busy disk
LOCK_PAUSE_MIN_S = 0.00005
LOCK_PAUSE_MAX_S = 0.002
DOUBLINGS_MAX = 6
_READ_INSTEAD = "commits need it writable: Partition.fetch reads without a group"
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_SYNCED = struct.Struct("<Q")  # the lock file: the sequence known to be durable; behind it
_CHECKSUM = struct.Struct("<Q")
_NAME_POSITION = _SYNCED.size + _CHECKSUM.size  # the checksum of the group's name, and the name
_lock_files: set[int] = set()  # open now, in any thread of this process


class SupersededError(Exception):
    """The group moved on without the lock's holder: what it wrote does not count."""


class HeldLock(NamedTuple):
    """A held lock: its file, its epoch, and the directory of the files it guards."""

    descriptor: int
    epoch: int
    directory: str
    synced_sequence: int = 0  # of the offsets; what is known to be durable


class GroupLock:
    """The lock of one group, in whichever epoch the group is."""

    def __init__(self, files: Files, directory: str, name: str, patience_ms: int) -> None:
        self._files = files
        self._directory = directory
        self._epochs = layout.group_epochs(directory)
        self._name = name
        self._known = 0  # the newest epoch, as far as was seen
        self._patience_s = max(patience_ms / 1000, LOCK_PATIENCE_S_MIN)

    def epochs(self) -> list[int]:
        """The existing epochs, sorted; just 0 if no lock was ever taken over."""
        try:
            entries = self._files.list_directory(self._epochs)
        except FileNotFoundError:
            return [0]
        return [0, *sorted(filter(None, map(layout.parse_group_epoch, entries)))]

    def newest(self) -> int:
        """The current epoch. Cost: listing a directory that mostly does not exist."""
        self._known = self.epochs()[-1]
        return self._known

    def directory_of(self, epoch: int) -> str:
        """Where an epoch's files are."""
        return layout.group_epoch(self._directory, epoch) if epoch else self._directory

    def settled(self) -> int:
        """The newest epoch with offsets of its own; older ones are never read again."""
        for epoch in reversed(self.epochs()[1:]):
            if self._files.status(layout.group_offsets(self.directory_of(epoch))) is not None:
                return epoch
        return 0

    @contextmanager
    def held(self, *, exclusive: bool) -> Iterator[HeldLock]:
        """Hold the lock, also against other processes; without ``exclusive`` no file is created.

        Raises ``SupersededError`` at the end if the group moved on meanwhile.
        """
        lock = self._take(exclusive=exclusive)
        try:
            yield lock._replace(synced_sequence=self._check(lock.descriptor)) if exclusive else lock
        except Exception as error:
            if self.newest() != lock.epoch:
                raise SupersededError from error
            raise
        else:
            if self.newest() != lock.epoch:
                raise SupersededError
        finally:
            self._release(lock.descriptor)

    def _take(self, *, exclusive: bool) -> HeldLock:
        while True:
            epoch = self._known  # checked against newer ones once the lock is held
            directory = self.directory_of(epoch)
            if epoch:
                is_directory(self._files, directory)  # a link is refused
            try:
                with explaining_unwritable(directory, _READ_INSTEAD):
                    path = layout.group_lock(directory)
                    descriptor = self._files.open(path, write=exclusive, create=exclusive)
            except FileNotFoundError:
                if self.newest() == epoch:
                    raise
                continue  # the epoch was removed
            _lock_files.add(descriptor)
            is_taken = False
            try:
                is_taken = self._wait(descriptor, epoch, exclusive=exclusive)
            finally:
                if not is_taken:
                    self._release(descriptor)
            if is_taken:
                return HeldLock(descriptor, epoch, directory)

    def _release(self, descriptor: int) -> None:
        """Unlock and close: a forked child must not keep it open."""
        _lock_files.discard(descriptor)
        self._files.release(descriptor)

    def _wait(self, descriptor: int, epoch: int, *, exclusive: bool) -> bool:
        """Wait for the lock of an epoch, up to a limit; False if the group moved on.

        The limit doubles with each epoch that nobody has settled in: the disk may be that slow.
        """
        unsettled = epoch - self.settled() if epoch else 0
        patience_s = self._patience_s * 2 ** min(unsettled, DOUBLINGS_MAX)
        deadline, pause = time.monotonic() + patience_s, LOCK_PAUSE_MIN_S
        traces: tuple[bytes, int | None] | None = None
        while not self._files.lock(descriptor, exclusive=exclusive, wait=False):
            if self.newest() != epoch:
                return False
            now = time.monotonic()
            if traces is None or now >= deadline:
                before, traces = traces, self._traces(descriptor, epoch)
                if before == traces:
                    self._move_on(epoch, patience_s)
                    return False
                deadline = now + patience_s
            time.sleep(pause)
            pause = min(pause * 1.5, LOCK_PAUSE_MAX_S)
        return self.newest() == epoch

    def _traces(self, descriptor: int, epoch: int) -> tuple[bytes, int | None]:
        """What changes as long as the lock's holders make progress."""
        state = self._files.status(layout.group_assignment(self.directory_of(epoch)))
        sequence = self._files.read(descriptor, _SYNCED.size, 0)
        return sequence, None if state is None else state.st_ino

    def _move_on(self, epoch: int, waited_s: float) -> None:
        """Create the next epoch. Whoever takes its lock first settles in it."""
        holder = holders_of(layout.group_lock(self.directory_of(epoch)))
        if layout.parse_group_epoch(str(epoch + 1)) is None:  # forged: too large to be ours
            raise GroupLockedError(self._name, holder, waited_s)
        for directory in self._epochs, self.directory_of(epoch + 1):
            try:
                self._files.make_directory(directory)
            except FileExistsError:
                pass  # another waiter was first
            except OSError as error:
                if error.errno in UNWRITABLE:
                    raise GroupLockedError(self._name, holder, waited_s) from error
                raise
        logger.warning(
            "group %r: its lock has been held for %g seconds by %s; the group goes on without it",
            self._name,
            waited_s,
            holder,
        )

    # What is in the lock file

    def _check(self, descriptor: int) -> int:
        """Check the group's name in the lock file; returns the sequence known to be durable.

        The full name is there because directory names may be shortened, or case-folded. The file is
        never synced: losing it in a power cut costs one extra sync.
        """
        data = self._files.read(descriptor, _NAME_POSITION + layout.NAME_LENGTH_MAX, 0)
        sequence, name = lock_file_content(data)
        if name is None:
            own = self._name.encode("ascii")
            checksum = _CHECKSUM.pack(xxhash.xxh3_64_intdigest(own))
            self._files.truncate(descriptor, 0)
            self._files.write(descriptor, bytes(_SYNCED.size) + checksum + own, 0)
            return 0
        if name != self._name:
            raise ValueError(
                f"the group names {self._name!r} and {name!r} are one directory on this file "
                f"system ({self._directory}); use one of them"
            )
        return sequence

    def note_synced(self, lock: HeldLock, sequence: int) -> HeldLock:
        """Record that the offsets are durable up to this sequence."""
        self._files.write(lock.descriptor, _SYNCED.pack(sequence), 0)
        return lock._replace(synced_sequence=sequence)


def lock_file_content(data: bytes) -> tuple[int, str | None]:
    """The sequence known to be durable, and the name, None if it is incomplete."""
    name = data[_NAME_POSITION:]
    (checksum,) = _CHECKSUM.unpack(data[_SYNCED.size : _NAME_POSITION].ljust(8, b"\0"))
    is_whole = bool(name) and checksum == xxhash.xxh3_64_intdigest(name)
    return int.from_bytes(data[: _SYNCED.size], "little"), name.decode() if is_whole else None


def _close_in_child() -> None:
    """In a forked child: a lock that another thread held belongs to the parent."""
    while _lock_files:
        os.close(_lock_files.pop())


os.register_at_fork(after_in_child=_close_in_child)
