"""Names the processes that hold a file lock, for error messages.

Only Linux lists locks (/proc/locks). Changes nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_STOPPED = ("T", "t")
SOMEBODY = "another process"


def holders_of(path: str) -> str:
    """The processes that hold ``path`` locked: pid, program, and whether it is stopped."""
    try:
        pids = sorted(set(_pids(os.stat(path))))
    except OSError:
        return SOMEBODY
    return " and ".join(map(_describe, pids)) or SOMEBODY


def _pids(status: os.stat_result) -> Iterator[int]:
    """Parse ``number: FLOCK ADVISORY WRITE pid major:minor:inode start end``; waiters have ``->``.

    Compares inodes alone, because layered file systems list another device than ``stat`` does.
    """
    with open("/proc/locks", encoding="ascii") as locks:
        for line in locks:
            _, kind, *fields = line.split()
            if kind == "FLOCK" and fields[3].rpartition(":")[2] == str(status.st_ino):
                yield int(fields[2])


def _describe(pid: int) -> str:
    """Pid, program, and whether the process is stopped."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            about = file.read()
    except OSError:
        return f"process {pid}" if pid > 0 else "a process of another container"
    name, _, fields = about.partition("(")[2].rpartition(")")
    return f"process {pid} ({name}{', stopped' if fields.split()[0] in _STOPPED else ''})"
