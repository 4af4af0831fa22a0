"""Finishes the group of a writer that died after it was in the WAL, before it was applied.

Nothing else is left undone when a process dies in the middle of a group: earlier groups were
applied and are on the partitions' tail pages. Any other state goes through recovery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from merkql._core.batch_header import scan
from merkql._core.frame import Frame, Section
from merkql.errors import CorruptionError
from merkql.storage.partition_log import PartitionLog
from merkql.storage.prepared import Prepared
from merkql.storage.segment import BatchTuple
from merkql.storage.turn import Turn


@dataclass(frozen=True, slots=True)
class WrittenBatches:
    """A section's batches, as ``EncodedBatches`` describes those of this process."""

    data: bytes
    batches: list[BatchTuple]
    count: int
    first_offset: int
    leaf_hashes: bytes = b""  # not made yet


def finish_group(
    frame: Frame,
    turn: Turn,
    logs_of: Callable[[list[tuple[bytes, int]]], list[PartitionLog]],
) -> None:
    """Apply a group whose frame is durable to the partitions that lack it, and publish it.

    ``logs_of`` opens partitions by topic id and number. Raises ``CorruptionError`` if a partition
    does not end where the group begins.
    """
    for section in frame.sections:
        for log in logs_of([(section.topic_id, section.partition)]):
            turn.lead(log)
            log.check_writable()
            finish_section(log, section)
            turn.note_live(log)
    turn.publish()


def finish_section(log: PartitionLog, section: Section) -> None:
    """Apply one partition's part of the group, unless its writer did so already.

    ``log`` is as its tail page states. Raises ``CorruptionError`` if it ends elsewhere.
    """
    if log.end_offset >= section.first_offset + section.record_count:
        return
    if log.end_offset != section.first_offset:
        raise CorruptionError(
            log.tail_path,
            0,
            f"the log ends at offset {log.end_offset}, and the last group in the write-ahead log "
            f"goes on at {section.first_offset}",
        )
    data, salts = bytes(section.data), bytes(section.salts)
    result = scan(data, section.first_offset)
    batches = WrittenBatches(data, result.batches, section.record_count, section.first_offset)
    log.apply(Prepared(log, batches, salts))
