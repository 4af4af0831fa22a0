"""A group member's own file: its lock says that the member lives, its content when it polled.

The kernel frees the lock when the member's process dies. Format: docs/formats/group-members.md.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import weakref
from typing import NamedTuple

from merkql.storage import layout
from merkql.storage.files import Files

_HEARTBEAT = struct.Struct("<Q")  # when the member last polled, in ms; JSON for people follows


class MemberInfo(NamedTuple):
    """What a member's file says: when it last polled, and its process, for people."""

    last_poll_ms: int
    process: dict[str, object]


def decode_member(data: bytes) -> MemberInfo:
    """The content of a member's file; ``ValueError`` for anything else."""
    if len(data) < _HEARTBEAT.size:
        raise ValueError("the file is cut short")
    process = json.loads(data[_HEARTBEAT.size :])
    if not isinstance(process, dict):
        raise ValueError("not an object")
    return MemberInfo(int.from_bytes(data[: _HEARTBEAT.size], "little"), process)


class HeldDescriptor:
    """An open file that is closed at the latest with its owner."""

    def __init__(self, owner: object, files: Files, path: str, *, create: bool = False) -> None:
        self.descriptor = files.open(path, write=create, create=create)
        self.close = weakref.finalize(owner, files.close, self.descriptor)
        self.close.atexit = False  # the kernel does it


class MemberFile:
    """A live member's own file, locked until ``close``."""

    def __init__(self, files: Files, group_directory: str, member: str) -> None:
        try:
            files.make_directory(layout.group_members(group_directory))
        except FileExistsError:
            pass  # created by the first member; links were refused by Group
        self._files = files
        self._path = layout.group_member(group_directory, member)
        self._held = self._open()
        self._inode = self._found()
        about = {"pid": os.getpid(), "program": os.path.basename(sys.argv[0] or sys.executable)}
        files.write(self._held.descriptor, json.dumps(about).encode(), _HEARTBEAT.size)

    def _open(self) -> HeldDescriptor:
        """Create and lock the file; replace one whose lock is taken.

        A process that probes for dead members may be stopped while it has our lock.
        """
        while True:
            held = HeldDescriptor(self, self._files, self._path, create=True)
            try:
                if self._files.lock(held.descriptor, wait=False):
                    return held
                self._files.remove(self._path)
            except BaseException:
                held.close()
                raise
            held.close()

    @property
    def is_there(self) -> bool:
        """Whether others can find it. A stuck process may have removed it as a dead member's."""
        return self._inode is not None and self._found() == self._inode

    def _found(self) -> int | None:
        status = self._files.status(self._path)
        return None if status is None else status.st_ino

    def beat(self, now_ms: int) -> None:
        """Record that the member polled."""
        self._files.write(self._held.descriptor, _HEARTBEAT.pack(now_ms), 0)

    def close(self) -> None:
        """Release the lock and close the file."""
        self._held.close()


def last_poll_ms(files: Files, group_directory: str, member: str) -> int | None:
    """When a member last polled; None if it is dead: its lock is free, or the file is gone.

    Tries a shared lock, so that two processes probing at once do not take each other for the
    member.
    """
    try:
        descriptor = files.open(layout.group_member(group_directory, member))
    except FileNotFoundError:
        return None
    try:
        if files.lock(descriptor, exclusive=False, wait=False):
            return None
        return int.from_bytes(files.read(descriptor, _HEARTBEAT.size, 0), "little")
    finally:
        files.close(descriptor)


def remove_dead(files: Files, group_directory: str, known: set[str]) -> None:
    """Remove the files of dead members that the group does not list (any more)."""
    for name in files.list_directory(layout.group_members(group_directory)):
        if name not in known and last_poll_ms(files, group_directory, name) is None:
            try:
                files.remove(layout.group_member(group_directory, name))
            except FileNotFoundError:
                pass  # removed meanwhile by its owner, or by a process that was stuck
