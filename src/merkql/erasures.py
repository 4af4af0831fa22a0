"""Erases records of any topic, all or nothing, and keeps the audit log of erasures.

The steps: prepare; write the intent durably to ``erasing``; destroy the records in segments, salts
and WAL; append to the topic ``__erasures``; remove ``erasing``. Interrupted after the second step,
it is completed by the next open or the next erasure. What is destroyed, and how:
merkql.storage.erasure.
"""

from __future__ import annotations

import logging
import os
import pwd
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TypedDict

from merkql._core.accumulator import RecordAccumulator
from merkql.errors import (
    CorruptionError,
    NotErasableError,
    OffsetOutOfRangeError,
    UnknownTopicError,
)
from merkql.storage import layout
from merkql.storage.eraser import Choice, Reason
from merkql.storage.erasing_file import (
    RANGES_MAX,
    ErasureRecord,
    read_erasing,
    remove_erasing,
    write_erasing,
)
from merkql.storage.erasure import Erasure, prepare, ranges
from merkql.storage.files import remove_leftover
from merkql.storage.kept_frames import scrub_kept_frames
from merkql.storage.partition_log import PartitionLog
from merkql.storage.retention import keep_hidden, list_again
from merkql.storage.writer import CommitRequest

if TYPE_CHECKING:
    from merkql.storage.engine import Engine
    from merkql.topic import Topic

logger = logging.getLogger("merkql.recovery")


class TopicHolder(Protocol):
    """What erasing needs of the topic table."""

    def topics(self) -> list[Topic]:
        """All topics."""

    def get(self, name: str) -> Topic:
        """The topic of that name; ``UnknownTopicError`` if there is none."""

    def ensure_internal(self, name: str, *, leads: bool = False) -> Topic:
        """An internal topic, created if needed; ``leads``: the caller holds the lead."""


class Erasures:
    """The erasures of one data directory. Safe to share between threads."""

    def __init__(self, engine: Engine, table: TopicHolder) -> None:
        self._engine = engine
        self._table = table
        self._lock = threading.Lock()  # held while the audit log is read
        self._logged: dict[tuple[str, int], set[int]] = {}
        self._read_to = (b"", 0)  # topic id of the audit log, and the offset read up to

    def erase(
        self, topic: Topic, partitions: Iterable[int], choose: Choice, reason: Reason
    ) -> dict[int, list[int]]:
        """Erase the records that ``choose`` returns for each of these partitions.

        Returns the offsets erased now, by partition. ``choose`` is called while nothing is written.
        """
        engine = self._engine
        engine.check_writable()
        if not topic.config.erasable:
            raise NotErasableError(topic.name)
        self._table.ensure_internal(layout.ERASURES_TOPIC)  # first, as it takes the lead itself
        with engine.exclusive():
            if topic.deleted:
                raise UnknownTopicError(topic.name, "it was deleted")
            engine.clear_clean_mark()
            self.finish()
            prepared: list[Erasure] = []
            try:
                for index in partitions:
                    erasure = self._prepare(topic, index, choose)
                    prepared.append(erasure)
                needed = [one for one in prepared if one.is_needed]
                records = [one for erasure in needed for one in self._records(erasure, reason)]
                if not needed:
                    return {}
                write_erasing(engine.pool.files, engine.root, records)
            except BaseException:
                for erasure in prepared:
                    erasure.discard()
                raise
            self._carry_out(needed, records)
        return {one.log.id.index: one.offsets for one in needed}

    def finish(self) -> None:
        """Complete erasures that were interrupted; for a holder of the lead.

        Those that damage prevents are logged and stay to be completed.
        """
        engine = self._engine
        files, root = engine.pool.files, engine.root
        remove_leftover(files, layout.erasing(root))
        records = read_erasing(files, root)
        if not records:
            return
        logger.warning("%s: an erasure was cut short; finishing it", root)
        engine.clear_clean_mark()
        prepared: list[Erasure] = []
        stuck: list[ErasureRecord] = []
        groups: dict[tuple[str, int], list[ErasureRecord]] = {}
        for record in records:
            groups.setdefault((record.topic_id, record.partition), []).append(record)
        for (topic_id, partition), group in groups.items():
            topic = self._topic_of(topic_id)
            if topic is None:
                continue  # deleted since, with all its records
            try:
                offsets = [offset for one in group for offset in one.all_offsets()]
                prepared.append(self._prepare(topic, partition, lambda _, log, o=offsets: o))  # type: ignore[misc]
            except CorruptionError as damage:
                logger.error("an erasure in topic %r waits for this: %s", topic.name, damage)
                stuck += group
        self._carry_out(prepared, [one for one in records if one not in stuck])
        if stuck:
            write_erasing(files, root, stuck)

    def logged(self, topic_id: bytes, partition: int) -> set[int]:
        """The offsets of a partition that were erased, or are being, per the audit log."""
        found = self.pending(topic_id, partition)  # first: from there they move to the log
        with self._lock:
            self._read_log()
            return found | self._logged.get((topic_id.hex(), partition), set())

    def pending(self, topic_id: bytes, partition: int) -> set[int]:
        """The offsets whose erasure is in progress or waiting."""
        found: set[int] = set()
        for record in read_erasing(self._engine.pool.files, self._engine.root):
            if (record.topic_id, record.partition) == (topic_id.hex(), partition):
                found.update(record.all_offsets())
        return found

    def _topic_of(self, topic_id: str) -> Topic | None:
        found = [topic for topic in self._table.topics() if topic.id.hex() == topic_id]
        return found[0] if found else None

    def _prepare(self, topic: Topic, index: int, choose: Choice) -> Erasure:
        log = topic._open_log(index)
        assert isinstance(log, PartitionLog)  # who has the lead writes
        log.check_writable()
        list_again(log)
        offsets = sorted(set(choose(index, log)))
        beyond = [offset for offset in offsets if offset >= log.end_offset]
        if beyond:
            raise OffsetOutOfRangeError(beyond[0], log.start_offset, log.end_offset)
        if topic.retention.max_bytes is not None:  # batches shrink: what is hidden stays hidden
            keep_hidden(log, topic.retention, self._engine.now_ms())
        return prepare(log, offsets)

    def _records(self, erasure: Erasure, reason: Reason) -> list[ErasureRecord]:
        place = erasure.log.id
        closed = [(first, stop - 1) for first, stop in ranges(erasure.offsets)]
        return [
            ErasureRecord(
                topic=place.topic,
                topic_id=place.topic_id.hex(),
                partition=place.index,
                offsets=tuple(closed[at : at + RANGES_MAX]),
                time_ms=self._engine.now_ms(),
                by=reason.by,
                reason=reason.reason,
                **process(),
            )
            for at in range(0, len(closed), RANGES_MAX)
        ]

    def _carry_out(self, prepared: list[Erasure], records: list[ErasureRecord]) -> None:
        """Destroy, log, and remove the intent; each step may be repeated."""
        engine = self._engine
        for erasure in prepared:
            erasure.carry_out()
        engine.forget_wal()
        scrub_kept_frames(
            engine.pool.files,
            layout.wal_directory(engine.root),
            engine.info.seed,
            {(bytes.fromhex(one.topic_id), one.partition): one.all_offsets() for one in records},
        )
        self._tell(records)
        remove_erasing(engine.pool.files, engine.root)

    def _tell(self, records: list[ErasureRecord]) -> None:
        """Append to the audit log, unless these are its last records already."""
        if not records:
            return
        topic = self._table.ensure_internal(layout.ERASURES_TOPIC, leads=True)
        log = topic._open_log(0)
        assert isinstance(log, PartitionLog)  # who has the lead writes
        values = [one.to_json().encode() for one in records]
        end = log.end_offset
        before = topic.partition(0).read_range(max(0, end - len(values)), end)
        if [one.value for one in before] == values:
            return
        accumulator = RecordAccumulator(self._engine.now_ms())
        for record, value in zip(records, values, strict=True):
            accumulator.add(f"{record.topic}/{record.partition}", value, (), record.time_ms)
        request = CommitRequest([(log, accumulator)], durable=True)
        self._engine.writer.write_group([request])
        if request.error is not None:
            raise request.error

    def _read_log(self) -> None:
        """Read the part of the audit log that was not read yet."""
        try:
            topic = self._table.get(layout.ERASURES_TOPIC)
        except UnknownTopicError:
            return
        if self._read_to[0] != topic.id:
            self._logged, self._read_to = {}, (topic.id, 0)
        partition = topic.partition(0)
        begin, end = max(self._read_to[1], partition.start_offset), partition.end_offset
        while begin < end:
            records = partition.fetch(begin)
            for one in records:
                record = ErasureRecord.from_json(one.value or b"")
                place = (record.topic_id, record.partition)
                self._logged.setdefault(place, set()).update(record.all_offsets())
            begin = records[-1].offset + 1
        self._read_to = (topic.id, begin)


class Process(TypedDict):
    """The process that erases."""

    user: str
    uid: int
    pid: int
    host: str


def process() -> Process:
    """This process."""
    uid = os.geteuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return {"user": user, "uid": uid, "pid": os.getpid(), "host": os.uname().nodename}
