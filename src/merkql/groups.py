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
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import xxhash

from merkql.errors import CorruptionError, GroupLockedError
from merkql.storage import layout
from merkql.storage.entries import group_entries, is_directory
from merkql.storage.files import Files, read_file, replace_file, telling_unwritable
from merkql.storage.lock_holders import holders_of

logger = logging.getLogger("merkql.groups")

MAGIC = b"MKO1"
LOCK_TIMEOUT_S = 10.0  # a commit's sync on a busy disk may take some of it
LOCK_PAUSE_MIN_S = 0.00005
LOCK_PAUSE_MAX_S = 0.002
SLOT_SIZE_MIN = 4096
FILE_SIZE_MAX = 1 << 28
_HEADER = struct.Struct("<4sIIIQ")  # magic, entry count, slot size, reserved, sequence
_CHECKSUM = struct.Struct("<Q")
_ENTRY = struct.Struct("<16sIIQQ")  # topic id, partition, reserved, next offset, generation
HEADER_SIZE = _HEADER.size + _CHECKSUM.size
ENTRY_SIZE = _ENTRY.size
_READ_INSTEAD = "commits need it writable: Partition.fetch reads without a group"
_SYNCED = struct.Struct("<Q")  # the lock file: the sequence known to be durable; behind it
_lock_files: set[int] = set()  # open now, in any thread of this process
_NAME_POSITION = _SYNCED.size + _CHECKSUM.size  # the checksum of the group's name, and the name


class PartitionKey(NamedTuple):
    """A partition for as long as its topic lives: a topic made anew has another id."""

    topic_id: bytes
    partition: int


class CommittedOffset(NamedTuple):
    """The next offset to read, and the generation of the group that committed it (0: none)."""

    offset: int
    generation: int


Offsets = dict[PartitionKey, CommittedOffset]


class GroupLock(NamedTuple):
    """The held lock of a group: its file, and the sequence of offsets known to be durable."""

    descriptor: int
    synced_sequence: int


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
    return sequence, offsets


class Group:
    """One group's directory: its lock and its committed offsets."""

    def __init__(self, files: Files, groups_directory: str, name: str) -> None:
        self.name = layout.check_name(name, "group")
        self.files = files
        self._parent = groups_directory
        self.directory = os.path.join(groups_directory, layout.file_name(self.name))
        self._path = layout.group_offsets(self.directory)
        for directory in (self.directory, layout.group_members(self.directory)):
            is_directory(files, directory)  # a link is refused; what is missing is made later

    def make_directory(self) -> None:
        """Make the group's directory where there is none; not durable before the first commit."""
        with telling_unwritable(self._parent, _READ_INSTEAD):
            try:
                self.files.make_directory(self.directory)
            except FileExistsError:
                pass
            except FileNotFoundError:  # an empty directory that a copy of the data left out
                self.files.make_directory(self._parent)
                self.files.sync_directory(os.path.dirname(self._parent))
                self.files.make_directory(self.directory)

    @contextmanager
    def locked(self) -> Iterator[GroupLock]:
        """Hold the group's lock, also against other processes; ``GroupLockedError`` if one of them
        keeps it.

        Held for microseconds, or for the one sync of a commit. No code of the user runs under it.
        """
        with telling_unwritable(self.directory, _READ_INSTEAD):
            descriptor = self.files.open(layout.group_lock(self.directory), write=True, create=True)
        with self._holding(descriptor, exclusive=True):
            yield GroupLock(descriptor, self._check_lock_file(descriptor))

    def read_offsets(self) -> Offsets:
        """The committed offsets; empty when nothing was ever committed. Takes the lock.

        Raises ``CorruptionError`` when neither slot checks out.
        """
        try:
            lock = self.files.open(layout.group_lock(self.directory))
        except FileNotFoundError:
            return self._read().offsets
        with self._holding(lock, exclusive=False):
            return self._read().offsets

    @contextmanager
    def _holding(self, descriptor: int, *, exclusive: bool) -> Iterator[None]:
        """Lock an open lock file, and close it in the end: a fork must not keep it open."""
        _lock_files.add(descriptor)
        try:
            self._lock(descriptor, exclusive=exclusive)
            yield
        finally:
            _lock_files.discard(descriptor)
            self.files.release(descriptor)

    def _lock(self, descriptor: int, *, exclusive: bool) -> None:
        """Not a call that blocks: whoever has the lock may be stopped, for ever."""
        deadline, pause = time.monotonic() + LOCK_TIMEOUT_S, LOCK_PAUSE_MIN_S
        while not self.files.lock(descriptor, exclusive=exclusive, wait=False):
            if time.monotonic() >= deadline:
                holder = holders_of(layout.group_lock(self.directory))
                raise GroupLockedError(self.name, holder, LOCK_TIMEOUT_S)
            time.sleep(pause)
            pause = min(pause * 1.5, LOCK_PAUSE_MAX_S)

    def commit_locked(
        self, lock: GroupLock, offsets: Mapping[PartitionKey, CommittedOffset]
    ) -> None:
        """Merge ``offsets`` into what is committed; durable when it returns: one write, one sync.

        For the holder of ``locked``, which gave ``lock``.
        """
        try:
            descriptor = self.files.open(self._path, write=True)
        except FileNotFoundError:
            sequence = self._rewrite(_NOTHING, dict(offsets))
        else:
            try:
                sequence = self._merge(descriptor, lock, offsets)
            finally:
                self.files.close(descriptor)
        if sequence != lock.synced_sequence:
            self.files.write(lock.descriptor, _SYNCED.pack(sequence), 0)

    def _merge(
        self,
        descriptor: int,
        lock: GroupLock,
        offsets: Mapping[PartitionKey, CommittedOffset],
    ) -> int:
        """Returns the sequence that is durable now."""
        content = self._decode(self.files.read(descriptor, self.files.size(descriptor), 0))
        if lock.synced_sequence != content.sequence:
            # Its writer died before its sync returned. Before the slot that is durable for sure is
            # overwritten, this one has to be, by its name too.
            self.files.sync(descriptor)
            self.files.sync_directory(self.directory)
            self.files.sync_directory(self._parent)
        merged = {**content.offsets, **offsets}
        if merged == content.offsets:
            return content.sequence
        slot_size = content.size // 2
        if HEADER_SIZE + len(merged) * ENTRY_SIZE > slot_size:
            return self._rewrite(content, merged)
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

    def _rewrite(self, content: _Content, merged: Offsets) -> int:
        """Replace the file by one with larger slots. Both slots are written: no hole is left."""
        slot_size = max(content.size // 2, SLOT_SIZE_MIN)
        while HEADER_SIZE + len(merged) * ENTRY_SIZE > slot_size:
            slot_size *= 2
        data = encode_slot(content.sequence + 1, merged, slot_size)
        replace_file(self.files, self._path, data.ljust(2 * slot_size, b"\0"))
        self.files.sync_directory(self._parent)
        return content.sequence + 1

    def _read(self) -> _Content:
        try:
            return self._decode(read_file(self.files, self._path, FILE_SIZE_MAX))
        except FileNotFoundError:
            return _NOTHING

    def _decode(self, data: bytes) -> _Content:
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
                self._path,
                0,
                f"neither copy of the committed offsets of group {self.name!r} checks out; "
                "remove the file to start the group anew",
            )
        if torn:
            logger.warning(
                "%s: the copy at byte %d is torn; group %r goes on from the other",
                self._path,
                torn[0] * size,
                self.name,
            )
        (sequence, offsets), number = max(sound, key=lambda one: one[0][0])
        return _Content(sequence, offsets, number, len(data))

    def _check_lock_file(self, lock: int) -> int:
        """Check the name in the lock file; returns the sequence known to be durable.

        The whole name stands there because directory names may be cut, or folded. The file is never
        synced: what a power cut leaves of it costs one more sync, no more.
        """
        data = self.files.read(lock, _NAME_POSITION + layout.NAME_LENGTH_MAX, 0)
        name = _name_in(data)
        if name is None:
            own = self.name.encode("ascii")
            checksum = _CHECKSUM.pack(xxhash.xxh3_64_intdigest(own))
            self.files.truncate(lock, 0)
            self.files.write(lock, bytes(_SYNCED.size) + checksum + own, 0)
            return 0
        if name != self.name:
            raise ValueError(
                f"the group names {self.name!r} and {name!r} are one directory on this file "
                f"system ({self.directory}); use one of them"
            )
        return int.from_bytes(data[: _SYNCED.size], "little")


def lock_file_content(data: bytes) -> tuple[int, str | None]:
    """The sequence known to be durable, and the name, None where it is not whole."""
    return int.from_bytes(data[: _SYNCED.size], "little"), _name_in(data)


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
        name = _name_in(read_file(files, layout.group_lock(directory)))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    if name is None:  # the power failed before it was written, or it is being written now
        name = re.sub(r"%(3A|2E)", lambda match: chr(int(match[1], 16)), entry)
    return name if layout.file_name(name) == entry else None


def _name_in(lock_file: bytes) -> str | None:
    """The group's name in the content of its lock file, if it is whole."""
    name = lock_file[_NAME_POSITION:]
    (checksum,) = _CHECKSUM.unpack(lock_file[_SYNCED.size : _NAME_POSITION].ljust(8, b"\0"))
    if not name or checksum != xxhash.xxh3_64_intdigest(name):
        return None
    return name.decode("ascii")


def _close_in_child() -> None:
    """A lock that another thread held at the fork is the parent's, and ends with its call."""
    while _lock_files:
        os.close(_lock_files.pop())


os.register_at_fork(after_in_child=_close_in_child)
