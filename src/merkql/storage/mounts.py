"""Warns about file systems on which syncs or locks are unreliable: network ones."""

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


_local: set[int] = set()  # devices already found to be local


def warn_of_network(root: str) -> None:
    """Log a warning if ``root`` is on a network file system, where that can be told."""
    device = os.stat(root).st_dev
    if device in _local:
        return
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            kind = file_system_type(file.read(), device)
    except FileNotFoundError:
        return  # another operating system
    if kind in NETWORK_TYPES:
        logger.warning(
            "%s is on a network file system (%s): locks and syncs may not hold there; "
            "use a local disk",
            root,
            kind,
        )
    else:
        _local.add(device)


def file_system_type(mounts: str, device: int) -> str | None:
    """The type of the mounted file system with this device number (proc(5), mountinfo)."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        if wanted in fields.split()[2:3]:
            return rest.split(" ", 1)[0]
    return None
