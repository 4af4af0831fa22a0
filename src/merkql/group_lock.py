"""The lock of a consumer group, and how the group goes on without one who is stuck with it.

Nobody can break a lock of the kernel's. So the group moves away from it, into another *epoch*: a
directory with a lock and files of its own. Who was left behind, stopped perhaps, writes where none
looks any more, and finds that out before its call ends. Format: docs/formats/group-offsets.md.
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
from merkql.storage.files import Files, telling_unwritable
from merkql.storage.lock_holders import holders_of

logger = logging.getLogger("merkql.groups")

LOCK_PATIENCE_MS = 3000
LOCK_PATIENCE_S_MIN = 1.0  # a commit's sync on a busy disk may take some of it
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
    """The group went on without the holder of the lock: what it wrote counts for nothing."""


class HeldLock(NamedTuple):
    """A lock that is held: its file, its epoch, and the directory of what it guards."""

    descriptor: int
    epoch: int
    directory: str
    synced_sequence: int = 0  # of the offsets; what is known to be durable


class GroupLock:
    """The lock of one group, whichever epoch the group is in."""

    def __init__(self, files: Files, directory: str, name: str, patience_ms: int) -> None:
        self._files = files
        self._directory = directory
        self._epochs = layout.group_epochs(directory)
        self._name = name
        self._known = 0  # the newest epoch, as far as was seen
        self._patience_s = max(patience_ms / 1000, LOCK_PATIENCE_S_MIN)

    def epochs(self) -> list[int]:
        """The epochs that there are, the newest last; 0 alone where no lock was taken over."""
        try:
            entries = self._files.list_directory(self._epochs)
        except FileNotFoundError:
            return [0]
        return [0, *sorted(filter(None, map(layout.parse_group_epoch, entries)))]

    def newest(self) -> int:
        """The epoch that counts. Cost: one look at a directory that mostly is not there."""
        self._known = self.epochs()[-1]
        return self._known

    def directory_of(self, epoch: int) -> str:
        """Where the files of an epoch are."""
        return layout.group_epoch(self._directory, epoch) if epoch else self._directory

    def settled(self) -> int:
        """The newest epoch that has offsets of its own; an older one is not looked at any more."""
        for epoch in reversed(self.epochs()[1:]):
            if self._files.status(layout.group_offsets(self.directory_of(epoch))) is not None:
                return epoch
        return 0

    @contextmanager
    def held(self, *, exclusive: bool) -> Iterator[HeldLock]:
        """Hold the lock, also against other processes; nothing is made when not ``exclusive``.

        Raises ``SupersededError`` in the end if the group went on without this one.
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
            epoch = self._known  # or a newer one: that is looked at with the lock in hand
            directory = self.directory_of(epoch)
            if epoch:
                is_directory(self._files, directory)  # a link is refused
            try:
                with telling_unwritable(directory, _READ_INSTEAD):
                    path = layout.group_lock(directory)
                    descriptor = self._files.open(path, write=exclusive, create=exclusive)
            except FileNotFoundError:
                if self.newest() == epoch:
                    raise
                continue  # the epoch was cleared away
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
        """Also closes: a fork must not keep it open."""
        _lock_files.discard(descriptor)
        self._files.release(descriptor)

    def _wait(self, descriptor: int, epoch: int, *, exclusive: bool) -> bool:
        """Wait for the lock of an epoch, but not for ever; False when the group is in another one.

        Twice as long for each epoch that nobody has settled in: the disk may be that slow.
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
        """What changes where the lock goes from hand to hand, as it should."""
        state = self._files.status(layout.group_assignment(self.directory_of(epoch)))
        sequence = self._files.read(descriptor, _SYNCED.size, 0)
        return sequence, None if state is None else state.st_ino

    def _move_on(self, epoch: int, waited_s: float) -> None:
        """Begin the epoch after this one. Whoever takes its lock first settles in it."""
        holder = holders_of(layout.group_lock(self.directory_of(epoch)))
        if layout.parse_group_epoch(str(epoch + 1)) is None:  # none of ours came as far as that
            raise GroupLockedError(self._name, holder, waited_s)
        for directory in self._epochs, self.directory_of(epoch + 1):
            try:
                self._files.make_directory(directory)
            except FileExistsError:
                pass  # somebody else was as tired of waiting
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
        """Check the name in the lock file; returns the sequence known to be durable.

        The whole name stands there because directory names may be cut, or folded. The file is never
        synced: what a power cut leaves of it costs one more sync, no more.
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
        """Note that the offsets are durable up to this sequence."""
        self._files.write(lock.descriptor, _SYNCED.pack(sequence), 0)
        return lock._replace(synced_sequence=sequence)


def lock_file_content(data: bytes) -> tuple[int, str | None]:
    """The sequence known to be durable, and the name, None where it is not whole."""
    name = data[_NAME_POSITION:]
    (checksum,) = _CHECKSUM.unpack(data[_SYNCED.size : _NAME_POSITION].ljust(8, b"\0"))
    is_whole = bool(name) and checksum == xxhash.xxh3_64_intdigest(name)
    return int.from_bytes(data[: _SYNCED.size], "little"), name.decode() if is_whole else None


def _close_in_child() -> None:
    """A lock that another thread held at the fork is the parent's, and ends with its call."""
    while _lock_files:
        os.close(_lock_files.pop())


os.register_at_fork(after_in_child=_close_in_child)
