"""Committed offsets of a consumer group: two slots in one small file, written in turn and synced.

Format: docs/formats/group-offsets.md. Says nothing about who may commit: merkql.membership does.
Every process that commits, or looks at the members, holds the group's lock meanwhile.
"""

from __future__ import annotations

import errno
import logging
import os
import re
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
    lock_file_content,
)
from merkql.storage import layout
from merkql.storage.entries import group_entries, is_directory
from merkql.storage.files import Files, read_file, replace_file, telling_unwritable

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
    """A partition for as long as its topic lives: a topic made anew has another id."""

    topic_id: bytes
    partition: int


class CommittedOffset(NamedTuple):
    """The next offset to read, and the generation of the group that committed it (0: none)."""

    offset: int
    generation: int


Offsets = dict[PartitionKey, CommittedOffset]


class _Content(NamedTuple):
    """What an offsets file holds; ``slot`` is the one that holds it, ``size`` that of the file."""

    sequence: int
    offsets: Offsets
    slot: int
    size: int


_NOTHING = _Content(0, {}, 1, 0)


def encode_slot(sequence: int, offsets: Mapping[PartitionKey, CommittedOffset], size: int) -> bytes:
    """The used part of a slot of ``size`` bytes; entries are in the order of their keys."""
    header = _HEADER.pack(MAGIC, len(offsets), size, 0, sequence)
    entries = b"".join(
        _ENTRY.pack(key.topic_id, key.partition, 0, *offsets[key]) for key in sorted(offsets)
    )
    checksum = xxhash.xxh3_64_intdigest(header + entries)
    return header + _CHECKSUM.pack(checksum) + entries


def decode_slot(data: bytes, size: int) -> tuple[int, Offsets] | None:
    """Sequence and offsets of a slot of ``size`` bytes; None when it is torn or was never used."""
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
        # The ids of all topics there are; None where that cannot be told.
        self.topic_ids: Callable[[], Collection[bytes] | None] = lambda: None
        members = layout.group_members(self.directory)
        for directory in (self.directory, members, layout.group_epochs(self.directory)):
            is_directory(files, directory)  # a link is refused; what is missing is made later

    def make_directory(self) -> None:
        """Make the group's directory where there is none; not durable before the first commit."""
        with telling_unwritable(self._parent, _READ_INSTEAD):
            try:
                self.files.make_directory(self.directory)
            except FileExistsError:
                # Another member, or an earlier one, made it. What stands there was looked at when
                # this object was made; anything but a directory fails at the lock.
                pass
            except FileNotFoundError:  # an empty directory that a copy of the data left out
                self.files.make_directory(self._parent)
                self.files.sync_directory(os.path.dirname(self._parent))
                self.files.make_directory(self.directory)

    def under_lock(self, work: Callable[[HeldLock], T]) -> T:
        """What ``work`` returns, called with the group's lock held, also against other processes.

        Held for microseconds, or for the one sync of a commit, and no code of the user runs under
        it. Should this process be stopped so long that the group goes on without it, ``work`` is
        called again with the lock of now: nothing that it did before was seen by anybody.
        """
        while True:
            try:
                with self.locked() as lock:
                    return work(lock)
            except SupersededError:
                logger.warning("group %r: this process held its lock for too long", self.name)

    @contextmanager
    def locked(self) -> Iterator[HeldLock]:
        """Hold the lock once; ``SupersededError`` in the end if the group did not wait for it."""
        with self.lock.held(exclusive=True) as lock:
            is_new = lock.epoch and self.lock.settled() != lock.epoch
            self.assignment_path = layout.group_assignment(lock.directory)
            yield self._settle(lock) if is_new else lock

    def read_offsets(self) -> Offsets:
        """The committed offsets; empty when nothing was ever committed. Takes the lock.

        Raises ``CorruptionError`` when neither slot checks out.
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
                self.under_lock(lambda _: None)  # who began the epoch died: settle for it
            except OSError as error:
                if error.errno not in UNWRITABLE:
                    raise
                return self._last_content().offsets

    def commit_locked(
        self, lock: HeldLock, offsets: Mapping[PartitionKey, CommittedOffset]
    ) -> None:
        """Merge ``offsets`` into what is committed; durable when it returns: one write, one sync.

        For the holder of ``lock``; no commit of it counts when that was superseded.
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
        """Returns the sequence that is durable now."""
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
            # Nobody may take for committed, or build on, what may not be on the disk.
            self.files.write(descriptor, before, position)
            raise
        return content.sequence + 1

    def _without_deleted(self, offsets: Offsets) -> Offsets:
        """Without those of topics that are gone, whose ids never come again; asked when full."""
        ids = self.topic_ids()
        if ids is None:
            return offsets
        return {key: offset for key, offset in offsets.items() if key.topic_id in ids}

    def _rewrite(self, lock: HeldLock, content: _Content, merged: Offsets) -> int:
        """Replace the file by one with larger slots. Both slots are written: no hole is left."""
        slot_size = max(content.size // 2, SLOT_SIZE_MIN)
        while HEADER_SIZE + len(merged) * ENTRY_SIZE > slot_size:
            slot_size *= 2
        data = encode_slot(content.sequence + 1, merged, slot_size).ljust(2 * slot_size, b"\0")
        replace_file(self.files, layout.group_offsets(lock.directory), data)
        self._sync_names(lock)
        return content.sequence + 1

    def _sync_names(self, lock: HeldLock) -> None:
        """Make the names durable that lead to the directory of the lock."""
        if lock.epoch:
            self.files.sync_directory(layout.group_epochs(self.directory))
            self.files.sync_directory(self.directory)
        self.files.sync_directory(self._parent)

    # An epoch that is new

    def _settle(self, lock: HeldLock) -> HeldLock:
        """Go on where the epoch before stood; the offsets come last, and say that it is done.

        Its holder may go on writing there: what is read here once is not looked at again.
        """
        older = [epoch for epoch in self.lock.epochs() if epoch < lock.epoch]
        self._copy_state(lock, older)
        for epoch in older:  # members look at it, and are to look for it anew
            self._remove(layout.group_assignment(self.lock.directory_of(epoch)))
        content = self._last_content()
        lock = self.lock.note_synced(lock, self._rewrite(lock, content, content.offsets))
        for epoch in older:
            self._clear(epoch)
        return lock

    def _copy_state(self, lock: HeldLock, older: list[int]) -> None:
        """Copy the newest state there is; nothing where there are no members.

        Another may be doing it in an epoch before this: a copy goes up before the original goes.
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
        """What is committed, of the newest epoch that was settled in; without its lock."""
        while True:
            settled = self.lock.settled()
            content = self._read(self.lock.directory_of(settled))
            if content is not _NOTHING or settled == self.lock.settled():
                return content  # else another settled meanwhile, and removed what this one began

    def _clear(self, epoch: int) -> None:
        """Remove what an epoch left. Somebody stuck may be at work in it: that stays then."""
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


def list_groups(files: Files, groups_directory: str) -> list[str]:
    """The names of all groups that have members or committed offsets, sorted."""
    try:
        entries = group_entries(files, groups_directory)
    except FileNotFoundError:
        return []
    names = (_name_of(files, os.path.join(groups_directory, entry), entry) for entry in entries)
    return sorted(name for name in names if name is not None)


def _name_of(files: Files, directory: str, entry: str) -> str | None:
    try:
        _, name = lock_file_content(read_file(files, layout.group_lock(directory)))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    if name is None:  # the power failed before it was written, or it is being written now
        name = re.sub(r"%(3A|2E)", lambda match: chr(int(match[1], 16)), entry)
    return name if layout.file_name(name) == entry else None
