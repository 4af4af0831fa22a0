"""The salts of an erasable topic's records: 16 random bytes each, zeros once destroyed.

Format: docs/formats/merkle-log.md.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from merkql._core.record import Record
from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.file_pool import FilePool
from merkql.storage.tree_space import NO_SALT, SALT_SIZE

RETRIES = 10  # one is enough, unless another process sees an erasure late


class Salted(Protocol):
    """What is needed of a partition."""

    def fetch(self, offset: int, *, max_records: int, max_bytes: int) -> list[Record]:
        """Some of the records from ``offset`` on."""

    def salts(self, first: int, stop: int) -> bytes:
        """The salts of these records; empty if the topic is not erasable."""


def with_salts(
    partition: Salted, offset: int, max_records: int, max_bytes: int
) -> tuple[list[Record], bytes]:
    """Fetch records, and the salts from the first of them on, consistent with each other.

    An erasure may run meanwhile: a record that was read before it never comes with the zeros that
    are in its salt's place after it.
    """
    records: list[Record] = []
    salts = b""
    for _ in range(RETRIES):
        records = partition.fetch(offset, max_records=max_records, max_bytes=max_bytes)
        if not records:
            break
        first = records[0].offset
        salts = partition.salts(first, records[-1].offset + 1)
        settled = _settled_count(records, salts) if NO_SALT in salts else len(records)
        if settled:
            return records[:settled], salts
    return records, salts


def _settled_count(records: Sequence[Record], salts: bytes) -> int:
    first = records[0].offset
    for count, record in enumerate(records):
        if not record.erased and salts.startswith(NO_SALT, (record.offset - first) * SALT_SIZE):
            return count  # erased since it was read: left to the next call
    return len(records)


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
