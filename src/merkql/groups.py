"""Committed offsets of a consumer group: two slots in one small file, written alternately.

Format: docs/formats/group-offsets.md. Who may commit is decided in merkql.membership. Every process
holds the group's lock while it commits or reads the members.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import xxhash

from merkql.errors import CorruptionError
from merkql.group_lock import (
    LOCK_PATIENCE_MS,
    UNWRITABLE,
    GroupLock,
    HeldLock,
    SupersededError,
)
from merkql.storage import layout
from merkql.storage.entries import is_directory
from merkql.storage.files import Files, explaining_unwritable, read_file, replace_file

logger = logging.getLogger("merkql.groups")

MAGIC = b"MKO1"
SLOT_SIZE_MIN = 4096
FILE_SIZE_MAX = 1 << 28
STATE_SIZE_MAX = 1 << 26
_HEADER = struct.Struct("<4sIIIQ")  # magic, entry count, slot size, reserved, sequence
_CHECKSUM = struct.Struct("<Q")
_NUMBER_MAX = 1 << 62
_ENTRY = struct.Struct("<16sIIQQ")  # topic id, partition, reserved, next offset, generation
HEADER_SIZE = _HEADER.size + _CHECKSUM.size
ENTRY_SIZE = _ENTRY.size
_READ_INSTEAD = "commits need it writable: Partition.fetch reads without a group"
T = TypeVar("T")


class PartitionKey(NamedTuple):
    """Identifies a partition while its topic exists: a recreated topic has another id."""

    topic_id: bytes
    partition: int


class CommittedOffset(NamedTuple):
    """The next offset to read, and the generation that committed it (0: no member)."""

    offset: int
    generation: int


Offsets = dict[PartitionKey, CommittedOffset]


class _Content(NamedTuple):
    """The content of an offsets file; ``slot`` is the current one, ``size`` the file's."""

    sequence: int
    offsets: Offsets
    slot: int
    size: int


_NOTHING = _Content(0, {}, 1, 0)


def encode_slot(sequence: int, offsets: Mapping[PartitionKey, CommittedOffset], size: int) -> bytes:
    """The used part of a slot of ``size`` bytes; entries are sorted by key."""
    header = _HEADER.pack(MAGIC, len(offsets), size, 0, sequence)
    entries = b"".join(
        _ENTRY.pack(key.topic_id, key.partition, 0, *offsets[key]) for key in sorted(offsets)
    )
    checksum = xxhash.xxh3_64_intdigest(header + entries)
    return header + _CHECKSUM.pack(checksum) + entries


def decode_slot(data: bytes, size: int) -> tuple[int, Offsets] | None:
    """Sequence and offsets of a slot of ``size`` bytes; None if it is torn or unused."""
    if len(data) < HEADER_SIZE:
        return None
    magic, count, slot_size, _, sequence = _HEADER.unpack_from(data)
    end = HEADER_SIZE + count * ENTRY_SIZE
    if magic != MAGIC or slot_size != size or sequence == 0 or end > len(data):
        return None
    (checksum,) = _CHECKSUM.unpack_from(data, _HEADER.size)
    entries = data[HEADER_SIZE:end]
    if checksum != xxhash.xxh3_64_intdigest(data[: _HEADER.size] + entries):
        return None
    offsets = {
        PartitionKey(topic_id, partition): CommittedOffset(offset, generation)
        for topic_id, partition, _, offset, generation in _ENTRY.iter_unpack(entries)
    }
    if max(sequence, *(one.offset for one in offsets.values()), 0) > _NUMBER_MAX:
        return None
    return sequence, offsets


class Group:
    """One group's directory: its lock and its committed offsets."""

    def __init__(
        self, files: Files, groups_directory: str, name: str, patience_ms: int = LOCK_PATIENCE_MS
    ) -> None:
        self.name = layout.check_name(name, "group")
        self.files = files
        self._parent = groups_directory
        self.directory = os.path.join(groups_directory, layout.file_name(self.name))
        self.lock = GroupLock(files, self.directory, self.name, patience_ms)
        self.assignment_path = layout.group_assignment(self.directory)  # as of the last call
        # The ids of all existing topics; None if unknown.
        self.topic_ids: Callable[[], Collection[bytes] | None] = lambda: None
        members = layout.group_members(self.directory)
        for directory in (self.directory, members, layout.group_epochs(self.directory)):
            is_directory(files, directory)  # refuses links; missing ones are created later

    def make_directory(self) -> None:
        """Create the group's directory if it is missing; durable with the first commit."""
        with explaining_unwritable(self._parent, _READ_INSTEAD):
            try:
                self.files.make_directory(self.directory)
            except FileExistsError:
                # Another member, or an earlier one, made it. What stands there was looked at when
                # this object was made; anything but a directory fails at the lock.
                pass
            except FileNotFoundError:  # a copy of the data left the empty directory out
                self.files.make_directory(self._parent)
                self.files.sync_directory(os.path.dirname(self._parent))
                self.files.make_directory(self.directory)

    def under_lock(self, work: Callable[[HeldLock], T]) -> T:
        """Call ``work`` with the group's lock held, also against other processes.

        The lock is held for microseconds, or for one commit's sync; no user code runs under it. If
        this process is stopped for so long that the group moves on, ``work`` is called again with
        the new lock: nothing it did before was seen by anybody.
        """
        while True:
            try:
                with self.locked() as lock:
                    return work(lock)
            except SupersededError:
                logger.warning("group %r: this process held its lock for too long", self.name)

    @contextmanager
    def locked(self) -> Iterator[HeldLock]:
        """Hold the lock once; ``SupersededError`` at the end if the group moved on."""
        with self.lock.held(exclusive=True) as lock:
            is_new = lock.epoch and self.lock.settled() != lock.epoch
            self.assignment_path = layout.group_assignment(lock.directory)
            yield self._settle(lock) if is_new else lock

    def read_offsets(self) -> Offsets:
        """The committed offsets; empty if nothing was ever committed. Takes the lock.

        Raises ``CorruptionError`` if neither slot is sound.
        """
        while True:
            try:
                with self.lock.held(exclusive=False) as lock:
                    if self.lock.settled() == lock.epoch:
                        return self._read(lock.directory).offsets
            except SupersededError:
                continue
            except FileNotFoundError:  # no lock file
                if self.lock.epochs() == [0]:
                    return self._read(self.directory).offsets
            try:
                self.under_lock(lambda _: None)  # the epoch's creator died: settle in its place
            except OSError as error:
                if error.errno not in UNWRITABLE:
                    raise
                return self._last_content().offsets

    def commit_locked(
        self, lock: HeldLock, offsets: Mapping[PartitionKey, CommittedOffset]
    ) -> None:
        """Merge ``offsets`` into the committed ones; durable when it returns: one write, one sync.

        For the holder of ``lock``; the commit is void if that was superseded.
        """
        path = layout.group_offsets(lock.directory)
        try:
            descriptor = self.files.open(path, write=True)
        except FileNotFoundError:
            sequence = self._rewrite(lock, _NOTHING, dict(offsets))
        else:
            try:
                sequence = self._merge(path, descriptor, lock, offsets)
            finally:
                self.files.close(descriptor)
        if sequence != lock.synced_sequence:
            self.lock.note_synced(lock, sequence)

    def _merge(
        self,
        path: str,
        descriptor: int,
        lock: HeldLock,
        offsets: Mapping[PartitionKey, CommittedOffset],
    ) -> int:
        """Write the other slot; returns the sequence that is durable now."""
        data = self.files.read(descriptor, self.files.size(descriptor), 0)
        content = self._decode(path, data)
        if lock.synced_sequence != content.sequence:
            # Its writer died before its sync returned. Before the slot that is durable for sure is
            # overwritten, this one has to be, by its name too.
            self.files.sync(descriptor)
            self.files.sync_directory(lock.directory)
            self._sync_names(lock)
        merged = {**content.offsets, **offsets}
        if merged == content.offsets:
            return content.sequence
        slot_size = content.size // 2
        if HEADER_SIZE + len(merged) * ENTRY_SIZE > slot_size:
            return self._rewrite(lock, content, self._without_deleted(merged))
        position = (1 - content.slot) * slot_size
        data = encode_slot(content.sequence + 1, merged, slot_size)
        before = self.files.read(descriptor, len(data), position)
        try:
            self.files.write(descriptor, data, position)
            self.files.sync(descriptor)
        except OSError:
            # What may not be on disk must not be read as committed, nor built on.
            self.files.write(descriptor, before, position)
            raise
        return content.sequence + 1

    def _without_deleted(self, offsets: Offsets) -> Offsets:
        """Drop the offsets of deleted topics, whose ids never return; done when a slot is full."""
        ids = self.topic_ids()
        if ids is None:
            return offsets
        return {key: offset for key, offset in offsets.items() if key.topic_id in ids}

    def _rewrite(self, lock: HeldLock, content: _Content, merged: Offsets) -> int:
        """Replace the file by one with larger slots, both written, so that it has no hole."""
        slot_size = max(content.size // 2, SLOT_SIZE_MIN)
        while HEADER_SIZE + len(merged) * ENTRY_SIZE > slot_size:
            slot_size *= 2
        data = encode_slot(content.sequence + 1, merged, slot_size).ljust(2 * slot_size, b"\0")
        replace_file(self.files, layout.group_offsets(lock.directory), data)
        self._sync_names(lock)
        return content.sequence + 1

    def _sync_names(self, lock: HeldLock) -> None:
        """Make the path to the lock's directory durable."""
        if lock.epoch:
            self.files.sync_directory(layout.group_epochs(self.directory))
            self.files.sync_directory(self.directory)
        self.files.sync_directory(self._parent)

    # Settling in a new epoch

    def _settle(self, lock: HeldLock) -> HeldLock:
        """Take over the previous epoch's state; the offsets are written last and complete it.

        The old holder may go on writing there: what was read here is not read again.
        """
        older = [epoch for epoch in self.lock.epochs() if epoch < lock.epoch]
        self._copy_state(lock, older)
        for epoch in older:  # members watch these files, and then look for the new one
            self._remove(layout.group_assignment(self.lock.directory_of(epoch)))
        content = self._last_content()
        lock = self.lock.note_synced(lock, self._rewrite(lock, content, content.offsets))
        for epoch in older:
            self._clear(epoch)
        return lock

    def _copy_state(self, lock: HeldLock, older: list[int]) -> None:
        """Copy the newest membership state there is; nothing without members.

        Another process may be doing the same for an earlier epoch: it copies before it removes.
        """
        for epoch in (lock.epoch, *reversed(older), *reversed(older)):
            path = layout.group_assignment(self.lock.directory_of(epoch))
            try:
                content = read_file(self.files, path, STATE_SIZE_MAX)
            except FileNotFoundError:
                continue
            if epoch != lock.epoch:
                target = layout.group_assignment(lock.directory)
                replace_file(self.files, target, content, durable=False)
            return

    def _last_content(self) -> _Content:
        """The committed offsets of the newest settled epoch, without its lock."""
        while True:
            settled = self.lock.settled()
            content = self._read(self.lock.directory_of(settled))
            if content is not _NOTHING or settled == self.lock.settled():
                return content  # else another process settled meanwhile and removed these files

    def _clear(self, epoch: int) -> None:
        """Remove an epoch's files. A stuck process may be using it: then it stays."""
        directory = self.lock.directory_of(epoch)
        self._remove(layout.group_offsets(directory))
        if not epoch:
            return  # the lock file has the group's name
        try:
            for name in self.files.list_directory(directory):
                self._remove(os.path.join(directory, name))
            self.files.remove_directory(directory)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                raise

    def _remove(self, path: str) -> None:
        try:
            self.files.remove(path)
        except FileNotFoundError:
            pass  # nothing was ever written there, or one that died here had removed it

    # What is committed

    def _read(self, directory: str) -> _Content:
        path = layout.group_offsets(directory)
        try:
            return self._decode(path, read_file(self.files, path, FILE_SIZE_MAX))
        except FileNotFoundError:
            return _NOTHING

    def _decode(self, path: str, data: bytes) -> _Content:
        size = len(data) // 2
        slots = [decode_slot(data[:size], size), decode_slot(data[size:], size)]
        torn = [
            number
            for number, slot in enumerate(slots)
            if slot is None and data[number * size : (number + 1) * size].strip(b"\0")
        ]
        sound = [(slot, number) for number, slot in enumerate(slots) if slot is not None]
        if not sound:
            raise CorruptionError(
                path,
                0,
                f"neither copy of the committed offsets of group {self.name!r} checks out; "
                "remove the file to start the group anew",
            )
        if torn:
            logger.warning(
                "%s: the copy at byte %d is torn; group %r goes on from the other",
                path,
                torn[0] * size,
                self.name,
            )
        (sequence, offsets), number = max(sound, key=lambda one: one[0][0])
        return _Content(sequence, offsets, number, len(data))
