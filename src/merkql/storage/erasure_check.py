"""Compares the records marked as erased in a partition with the audit log of erasures."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from operator import attrgetter

from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.index_repair import AnyLog
from merkql.storage.tree_space import NO_SALT, SALT_SIZE
from merkql.storage.verification import VerifyReport

_first_offset = attrgetter("first_offset")


def check_erased(
    log: AnyLog, report: VerifyReport, before: Collection[int], after: Collection[int]
) -> None:
    """``CorruptionError`` for a forged erasure mark, a record that is back, or a salt left over.

    ``before``: the offsets erased when verification began; ``after``: those erased, or being
    erased, when it ended.
    """
    erased, path = set(report.erased), layout.tree_salts(log.tree.directory)
    forged = sorted(erased.difference(after))
    if forged:
        reason = f"the record at offset {forged[0]} is marked erased, and nobody erased it: the "
        reason += f"topic {layout.ERASURES_TOPIC} does not say so; restore the segment from a copy"
        raise CorruptionError(_place(log, forged[0]), 0, reason)
    shown = range(report.first_offset, report.end_offset)
    back = sorted(one for one in before if one in shown and one not in erased)
    if back:
        reason = f"the record at offset {back[0]} was erased, and is there: an older copy of the "
        reason += "segment was put back; restore the newer one"
        raise CorruptionError(_place(log, back[0]), 0, reason)
    for offset in sorted(erased.intersection(before)):
        if log.pool.read(path, SALT_SIZE, offset * SALT_SIZE) != NO_SALT:
            reason = f"the record at offset {offset} is erased, and its salt is there"
            raise CorruptionError(path, offset * SALT_SIZE, reason)


def _place(log: AnyLog, offset: int) -> str:
    segments = log.all_segments
    return segments[max(0, bisect_right(segments, offset, key=_first_offset) - 1)].path
