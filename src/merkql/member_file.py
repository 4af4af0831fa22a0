"""The file that says of a group member that it lives, by its lock, and when it last polled.

Format: docs/formats/group-members.md. The kernel frees the lock when the member's process dies.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import weakref

from merkql.storage import layout
from merkql.storage.files import Files

_HEARTBEAT = struct.Struct("<Q")  # when the member last polled, in ms; JSON for people follows


class HeldDescriptor:
    """An open file that is closed with its owner, should nobody close it before."""

    def __init__(self, owner: object, files: Files, path: str, *, create: bool = False) -> None:
        self.descriptor = files.open(path, write=create, create=create)
        self.close = weakref.finalize(owner, files.close, self.descriptor)
        self.close.atexit = False  # the kernel does it


class MemberFile:
    """A living member's own file, locked until ``close``."""

    def __init__(self, files: Files, group_directory: str, member: str) -> None:
        try:
            files.make_directory(layout.group_members(group_directory))
        except FileExistsError:
            pass  # by the first member; what stands there was looked at when the group was made
        self._files = files
        self._path = layout.group_member(group_directory, member)
        self._held = self._open()
        self._inode = self._found()
        about = {"pid": os.getpid(), "program": os.path.basename(sys.argv[0] or sys.executable)}
        files.write(self._held.descriptor, json.dumps(about).encode(), _HEARTBEAT.size)

    def _open(self) -> HeldDescriptor:
        """A file that is locked. One that looks for the dead may be stopped as it tries its lock:
        then another file takes the place of that one."""
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
        """Whether others find it. One that was stuck may have removed it, as that of the dead."""
        return self._inode is not None and self._found() == self._inode

    def _found(self) -> int | None:
        status = self._files.status(self._path)
        return None if status is None else status.st_ino

    def beat(self, now_ms: int) -> None:
        """Leave word that the member polls."""
        self._files.write(self._held.descriptor, _HEARTBEAT.pack(now_ms), 0)

    def close(self) -> None:
        """Free the lock, and the file with it."""
        self._held.close()


def last_poll_ms(files: Files, group_directory: str, member: str) -> int | None:
    """When a member last polled; None when it is dead: its lock can be taken, or the file is gone.

    Tries the lock in shared mode, so that two who look at once do not take each other for it.
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
    """Remove the files of the dead that the group does not know (any more)."""
    for name in files.list_directory(layout.group_members(group_directory)):
        if name not in known and last_poll_ms(files, group_directory, name) is None:
            try:
                files.remove(layout.group_member(group_directory, name))
            except FileNotFoundError:
                pass  # by its owner, as it left, or by one that was stuck and does it late
