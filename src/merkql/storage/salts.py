"""The salts of an erasable topic's records: 16 random bytes each, zeros once destroyed.

Format: docs/formats/merkle-log.md.
"""

from __future__ import annotations

from collections.abc import Collection

from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.file_pool import FilePool
from merkql.storage.tree_space import NO_SALT, SALT_SIZE


def read_salts(pool: FilePool, tree_directory: str, first: int, stop: int) -> bytes:
    """The salts of offsets [first, stop); ``CorruptionError`` where some are missing."""
    path = layout.tree_salts(tree_directory)
    try:
        salts = pool.read(path, (stop - first) * SALT_SIZE, first * SALT_SIZE)
    except FileNotFoundError:
        salts = b""
    if len(salts) < (stop - first) * SALT_SIZE:
        raise CorruptionError(path, first * SALT_SIZE, "salts are missing")
    return salts


def check_salts(tree_directory: str, salts: bytes, first: int, erased: Collection[int]) -> None:
    """``CorruptionError`` for a record that is present without its salt, unless it is erased.

    ``salts``: those from offset ``first`` on. ``erased``: the offsets that are erased.
    """
    if NO_SALT not in salts:
        return
    gone = {
        first + at // SALT_SIZE
        for at in range(0, len(salts), SALT_SIZE)
        if salts[at : at + SALT_SIZE] == NO_SALT
    }
    back = sorted(gone.difference(erased))
    if back:
        raise CorruptionError(
            layout.tree_salts(tree_directory),
            back[0] * SALT_SIZE,
            f"the record at offset {back[0]} is there, and its salt was destroyed: if it was "
            "erased, an older copy of the segment was put back; restore the newer one",
        )
