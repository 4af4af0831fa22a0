"""Which groups there are: by the name in the lock file, or by the directory where that is lost."""

from __future__ import annotations

import errno
import os
import re

from merkql.errors import CorruptionError
from merkql.group_lock import lock_file_content
from merkql.storage import layout
from merkql.storage.entries import group_entries
from merkql.storage.files import Files, read_file


def list_groups(files: Files, groups_directory: str) -> list[str]:
    """The names of all groups that have members or committed offsets, sorted."""
    return sorted(name for name, _ in _groups(files, groups_directory) if name is not None)


def unnamed_groups(files: Files, groups_directory: str) -> list[CorruptionError]:
    """What is wrong with the groups that ``list_groups`` cannot name, though they hold something.

    A long name is cut in the directory's, and whole in the lock file alone; its members know it.
    """
    text = "the name of this group is lost, its offsets are there; its next member will write it"
    return [
        CorruptionError(layout.group_lock(directory), 0, text)
        for name, directory in _groups(files, groups_directory)
        if name is None and _has_offsets(files, directory)
    ]


def _groups(files: Files, groups_directory: str) -> list[tuple[str | None, str]]:
    """Name, or None where it is lost, and directory of each that somebody used."""
    try:
        entries = group_entries(files, groups_directory)
    except FileNotFoundError:
        return []
    found: list[tuple[str | None, str]] = []
    for entry in entries:
        directory = os.path.join(groups_directory, entry)
        name = _name_in_lock(files, directory)
        if name is not None:
            if layout.file_name(name) == entry:
                found.append((name, directory))
        elif _is_used(files, directory):
            found.append((_name_of_entry(entry), directory))
    return found


def _name_in_lock(files: Files, directory: str) -> str | None:
    """None where the power failed before it was written, where it is written now, or is gone."""
    try:
        _, name = lock_file_content(read_file(files, layout.group_lock(directory)))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    return name


def _is_used(files: Files, directory: str) -> bool:
    """Whether there is more than a directory, which somebody may just be making."""
    has_lock = files.status(layout.group_lock(directory)) is not None
    return has_lock or _has_offsets(files, directory)


def _has_offsets(files: Files, directory: str) -> bool:
    paths = (layout.group_offsets(directory), layout.group_epochs(directory))
    return any(files.status(path) is not None for path in paths)


def _name_of_entry(entry: str) -> str | None:
    """The name that a directory was made for; None for one that was cut."""
    name = re.sub(r"%(3A|2E)", lambda match: chr(int(match[1], 16)), entry)
    try:
        layout.check_name(name, "group")
    except ValueError:
        return None
    return name if layout.file_name(name) == entry else None
