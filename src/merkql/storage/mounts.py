"""Warns of file systems on which a sync or a lock does not mean what it says."""

from __future__ import annotations

import logging
import os

logger = logging.getLogger("merkql.storage")
NETWORK_TYPES = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs"),
    )
)


def warn_of_network(root: str) -> None:
    """Log a warning when ``root`` lies on a network file system; where that cannot be told, not."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            kind = file_system_type(file.read(), os.stat(root).st_dev)
    except FileNotFoundError:
        return  # another operating system
    if kind in NETWORK_TYPES:
        logger.warning(
            "%s is on a network file system (%s): locks and syncs may not hold there; "
            "use a local disk",
            root,
            kind,
        )


def file_system_type(mounts: str, device: int) -> str | None:
    """The type of the mounted file system with this device number (proc(5), mountinfo)."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        if wanted in fields.split()[2:3]:
            return rest.split(" ", 1)[0]
    return None
