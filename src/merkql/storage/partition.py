"""The public ``Partition``: records by offset and time, roots, proofs, retention, erasure."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from merkql._core.record import Record
from merkql.errors import CorruptionError, OffsetOutOfRangeError, again
from merkql.storage import retention as retaining
from merkql.storage.arguments import (
    check_callback,
    check_kind,
    check_offset,
    check_path,
    check_positive,
    check_range,
)
from merkql.storage.fetching import (
    FETCH_BYTES,
    UNLIMITED,
    Fetcher,
    FetchLimits,
    read_quickly,
)
from merkql.storage.index_repair import AnyLog, repair_index
from merkql.storage.partition_access import PartitionAccess
from merkql.storage.partition_log import PartitionLog
from merkql.storage.tree_repair import rebuild_whole_tree

if TYPE_CHECKING:  # what makes and checks evidence is loaded by the methods that need it
    from merkql.proofs import ConsistencyProof, Proof, RangeProof
    from merkql.storage.evidence import Content
    from merkql.storage.history import KeptCheckpoint
    from merkql.storage.partition_owner import PartitionOwner
    from merkql.storage.salvage import SalvagedRange
    from merkql.storage.verification import VerifyReport
    from merkql.transparency.publisher import PublishReport

Result = TypeVar("Result")
logger = logging.getLogger("merkql.recovery")


class Partition(PartitionAccess):
    """One ordered log of records with a merkle tree over all it ever held.

    Safe to share between threads. Reading takes no lock a writer holds across a sync. ``topic``
    and ``index`` say which one it is.
    """

    def __init__(
        self, owner: PartitionOwner, topic: str, index: int, now_ms: Callable[[], int]
    ) -> None:
        super().__init__(owner, topic, index, now_ms)
        self._fetcher = Fetcher()

    def __repr__(self) -> str:
        return f"<Partition {self.topic}/{self.index}>"

    @property
    def start_offset(self) -> int:
        """The first offset that retention leaves visible."""
        return self._with_log(self._start_of)

    @property
    def end_offset(self) -> int:
        """The offset of the next record to be written; all below it are durable."""
        return self._owner.open_log(self.index).end_offset

    def read(self, offset: int) -> Record:
        """The record at ``offset``. Cost: one read of its batch, about 16 KiB.

        Raises ``OffsetOutOfRangeError`` for one that is not there (yet, or any more) and
        ``CorruptionError`` when its batch is damaged.
        """
        check_offset(offset, "offset")
        log = self._owner.open_log(self.index)
        if self._shows(log, offset):
            record = read_quickly(log, offset)
            if record is not None and not log.retired:
                return record
        return self._with_log(lambda log: self._read(log, offset))

    def read_range(self, start: int, stop: int) -> list[Record]:
        """The records from ``start`` up to, not with, ``stop``; all in memory.

        Raises ``OffsetOutOfRangeError`` when not all of them are there.
        """
        check_range(start, stop)
        log = self._owner.open_log(self.index)
        if stop > log.end_offset:
            if log.damage is not None:
                raise again(log.damage)
            raise OffsetOutOfRangeError(stop, self.start_offset, log.end_offset)
        records: list[Record] = []
        while start < stop:
            some = self.fetch(start, max_records=stop - start)
            if not some:
                break  # the rest are control batches
            records += some
            start = some[-1].offset + 1
        while records and records[-1].offset >= stop:
            records.pop()  # fetched in the place of control batches
        return records

    def fetch(
        self, offset: int, *, max_records: int = UNLIMITED, max_bytes: int = FETCH_BYTES
    ) -> list[Record]:
        """Records from ``offset`` on: at least one if there is any, within about ``max_bytes``.

        Empty at the end of the log. Raises ``OffsetOutOfRangeError`` below its start and past its
        end. Damage raises ``CorruptionError`` once the records before it have been returned.
        """
        check_offset(offset, "offset")
        check_positive(max_records, "max_records")
        check_positive(max_bytes, "max_bytes")
        limits = FetchLimits(min(max_records, UNLIMITED), min(max_bytes, UNLIMITED))
        return self._with_log(
            lambda log: self._fetcher.fetch(log, offset, self._start_of(log), limits)
        )

    def root(self, size: int | None = None) -> bytes:
        """The tree's root over the first ``size`` records ever written, by default all."""
        log = self._owner.open_log(self.index)
        size = self._check_size(log, size, "size")
        return self._with_tree(log, lambda: self._prover.root(log, size))

    def proof(self, offset: int, size: int | None = None) -> Proof:
        """That the record at ``offset`` is in the tree of the first ``size`` records.

        Works for records retained away too; those proofs carry no entry, as the record is gone.
        Raises ``OffsetOutOfRangeError`` for an offset not written by that size. Cost: microseconds.
        """
        check_offset(offset, "offset")
        log = self._owner.open_log(self.index)
        size = self._check_size(log, size, "size")
        if offset >= size:
            raise OffsetOutOfRangeError(offset, 0, size)
        if not log.has_salts and self._shows(log, offset):
            proof = self._prover.inclusion_quickly(log, offset, size, b"")
            if proof is not None and not log.retired:
                return proof
        return self._with_tree(
            log, lambda: self._with_log(lambda log: self._prove(log, offset, size))
        )

    def _prove(self, log: AnyLog, offset: int, size: int) -> Proof:
        from merkql.storage.collecting import salts_of

        (salt,) = salts_of(log, offset, 1)  # proofs carry it, for whoever saved the record
        if offset >= self._start_of(log):
            proof = self._prover.inclusion_quickly(log, offset, size, salt)
            if proof is not None:
                return proof
        return self._prover.inclusion(log, offset, size, self._content_of(log, offset, salt))

    def prove_range(self, first: int, stop: int, size: int | None = None) -> RangeProof:
        """That the records from ``first`` up to, not with, ``stop`` are in the tree: one proof.

        The tree is that of the first ``size`` records, by default all. Works for records retained
        away too. Raises ``OffsetOutOfRangeError`` for a ``stop`` past ``size``. Cost: that of two
        proofs, however many records there are.
        """
        check_offset(first, "first")
        check_positive(stop, "stop")
        if stop <= first:
            raise ValueError(f"stop is more than first, {first}, not {stop}")
        log = self._owner.open_log(self.index)
        size = self._check_size(log, size, "size")
        if stop > size:
            raise OffsetOutOfRangeError(stop, 0, size)
        return self._with_tree(log, lambda: self._prover.range(log, first, stop, size))

    def salts(self, first: int, stop: int) -> bytes:
        """The salts of the records from ``first`` up to ``stop``, 16 bytes each.

        Zeros for erased records; empty if the topic is not erasable. Raises
        ``OffsetOutOfRangeError`` for a ``stop`` past the end.
        """
        from merkql.storage.salts import read_salts

        check_range(first, stop, "first")

        def read(log: AnyLog) -> bytes:
            if stop > log.end_offset:
                raise OffsetOutOfRangeError(stop, 0, log.end_offset)
            return read_salts(log.pool, log.tree.directory, first, stop) if log.has_salts else b""

        return self._with_log(read)

    def entries(self, first: int, stop: int) -> list[bytes]:
        """The log entries of the records from ``first`` up to ``stop``, 49 bytes each.

        Without those that retention has removed; erased records have theirs. Raises
        ``OffsetOutOfRangeError`` for a ``stop`` past the end. Cost: hashes every record.
        """
        from merkql.storage.entry_runs import entries_of

        check_range(first, stop)
        if stop > self.end_offset:
            raise OffsetOutOfRangeError(stop, self.start_offset, self.end_offset)

        return self._with_log(lambda log: entries_of(log, max(first, self._start_of(log)), stop))

    def evidence(self, first: int, stop: int, path: str | os.PathLike[str]) -> RangeProof:
        """Write a zip file that proves the records from ``first`` up to ``stop`` to an outsider.

        It holds the records, their log entries and proof, the newest checkpoint that covers them
        (else an unsigned one), programs that check it, and an explanation. Durable when it returns.
        Raises as ``prove_range`` does. Cost: 60 µs a small record, and a few MiB of memory.
        """
        from merkql.storage.collecting import write_bundle

        check_path(path, "path")
        self.prove_range(first, stop)  # refuses what is not there, before anything is done
        log = self._owner.open_log(self.index)
        return write_bundle(self, log, (first, stop), os.path.abspath(path))

    def consistency_proof(self, old: int, new: int | None = None) -> ConsistencyProof:
        """That the tree of ``new`` records begins with the tree of ``old``, unchanged."""
        log = self._owner.open_log(self.index)
        new = self._check_size(log, new, "new")
        check_offset(old, "old")
        if not 1 <= old <= new:
            raise ValueError(f"old is between 1 and {new} records, not {old}")
        return self._with_tree(log, lambda: self._prover.consistency(log, old, new))

    def checkpoint(self) -> KeptCheckpoint:
        """Sign the root over all records there are now; kept, and durable when it returns.

        The newest one again if nothing was written since. ``NoSigningKeyError`` unless the broker
        was opened with ``signing_key``; ``HistoryError`` where the log contradicts what it signed
        before. Cost: two syncs; writing waits meanwhile.
        """
        return self._owner.checkpointer.make(self._writable())

    def checkpoints(self) -> list[KeptCheckpoint]:
        """Every checkpoint made, in order, with what witnesses and time-stamp authorities added."""
        from merkql.storage.checkpoint_file import CheckpointFile
        from merkql.storage.history import all_kept

        return self._with_log(lambda log: all_kept(CheckpointFile(log.pool, log.directory)))

    def newest_checkpoint(self) -> KeptCheckpoint | None:
        """The last of ``checkpoints()``, without its timestamps. Cost: one read."""
        from merkql.storage.checkpoint_file import CheckpointFile
        from merkql.storage.history import newest_kept

        return self._with_log(lambda log: newest_kept(CheckpointFile(log.pool, log.directory)))

    def publish(self, path: str | os.PathLike[str]) -> PublishReport:
        """Write the tree up to the newest checkpoint as tiles, with no record in them; durable.

        Cost: reads and writes what is new there. ``ValueError`` if nothing was signed, or another
        log is there, and ``HistoryError`` if what is there is not a past of this one.
        """
        from merkql.transparency.publisher import publish

        check_path(path, "path")
        return self._with_log(lambda log: publish(log, os.path.abspath(path)))

    def keep(self, checkpoint: KeptCheckpoint) -> None:
        """Store cosignatures and timestamps that one of ``checkpoints()`` got since; durable."""
        from merkql.storage.history import KeptCheckpoint

        check_kind(checkpoint, "checkpoint", KeptCheckpoint)
        self._owner.checkpointer.keep(self._writable(), checkpoint)

    def find(self, leaf_hash: bytes) -> int | None:
        """The offset whose leaf has this hash, or None. Cost: a scan of 32 bytes a record."""
        from merkql.storage.evidence import find_leaf

        log = self._owner.open_log(self.index)
        return self._with_tree(log, lambda: find_leaf(log, leaf_hash))

    def offset_for_timestamp(self, timestamp_ms: int) -> int | None:
        """The first offset still shown whose timestamp is at or after ``timestamp_ms``.

        Milliseconds since 1970, UTC; None when there is no such record.
        """
        if not isinstance(timestamp_ms, int) or isinstance(timestamp_ms, bool):
            raise TypeError(f"a timestamp is an int of milliseconds, not {timestamp_ms!r}")
        wanted = max(-(1 << 63), min(timestamp_ms, (1 << 63) - 1))
        return self._with_log(
            lambda log: retaining.offset_for_timestamp(log, wanted, self._start_of(log))
        )

    def compact(self) -> int:
        """Apply retention and remove all records outside its window; returns the bytes freed.

        The tree keeps their hashes. 0 if the disk holds more afterwards: batches that another
        client compressed with zstd or gzip are rewritten as LZ4. Writing waits. Cost: one segment
        is rewritten.
        """
        with self._owner.exclusive():
            return retaining.compact(self._writable(), self._owner.retention, self._now_ms())

    def erase(self, *offsets: int, by: str | None = None, reason: str | None = None) -> list[int]:
        """Destroy the records at these offsets; returns those that were not erased before.

        Value, key, headers and salt are in no file afterwards; reading returns a record marked
        ``erased``, and every proof, root and checkpoint stays valid. ``by`` and ``reason`` go into
        the audit log, the topic ``__erasures``: put nothing of the record there. For a record that
        is retained away, the salt is destroyed. Durable when it returns; an erasure cut short by a
        crash is finished by whoever opens the directory next. Erase many in one call: writing waits
        meanwhile, and each segment that holds one is rewritten.

        Raises ``NotErasableError`` unless the topic was created ``erasable``,
        ``OffsetOutOfRangeError`` past the end (nothing is erased then), and ``CorruptionError`` if
        damage prevents it.
        """
        from merkql.storage.eraser import Reason

        for offset in offsets:
            check_offset(offset, "offset")
        erased = self._owner.erase([self.index], lambda *_: offsets, Reason(by, reason))
        return erased.get(self.index, [])

    def verify(self, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """Recompute every checksum, leaf and root from the records, and each checkpoint's root.

        For an erased record its entry is hashed, and the audit log of erasures must list it.
        ``progress`` is called with the records done and the records in all. Raises
        ``CorruptionError`` at the first fault; if only derived data is wrong (index, stored
        hashes), a writing broker rebuilds it, logs that, and continues. Cost: a full read.
        """
        from merkql.storage.erasure_check import check_erased
        from merkql.storage.history import verify_kept

        check_callback(progress, "progress")
        logged = self._owner.erased(self.index) - self._owner.being_erased(self.index)
        report = self._verify(progress)
        self._with_log(verify_kept)
        if report.erased or logged:
            self._with_log(
                lambda log: check_erased(log, report, logged, self._owner.erased(self.index))
            )
        return report

    def _verify(self, progress: Callable[[int, int], None] | None) -> VerifyReport:
        from merkql.storage.verification import DerivedDamageError, verify_log

        log = self._owner.open_log(self.index)
        try:
            return self._with_log(lambda log: verify_log(log, progress))
        except DerivedDamageError as damage:
            if not isinstance(log, PartitionLog):
                raise
            logger.warning("%s", damage)
        with self._owner.exclusive():
            log = self._writable()
            rebuild_whole_tree(log, log.frontier.peaks)
            for segment in log.all_segments:
                repair_index(log, segment)
        return self._with_log(lambda log: verify_log(log, progress))

    def salvage(self, start: int = 0, stop: int | None = None) -> SalvagedRange:
        """The intact records between two offsets of a damaged partition, and the damage.

        Skips what cannot be read and reports which offsets that were.
        """
        check_range(start, start if stop is None else stop)
        return self._with_log(lambda log: self._salvage_settled(log, start, stop))

    def has_more(self, offset: int | None) -> bool:
        """Whether ``fetch`` at ``offset`` would return records, or raise for damage at the end."""
        log = self._owner.open_log(self.index)
        return log.end_offset != offset or log.damage is not None

    @property
    def damage(self) -> CorruptionError | None:
        """Why nothing can be written to the partition, or None.

        Its end is damaged, or it contradicts a checkpoint that it signed (``HistoryError``).
        """
        log = self._owner.open_log(self.index)
        return log.damage or (log.refusal if isinstance(log, PartitionLog) else None)

    def _read(self, log: AnyLog, offset: int) -> Record:
        records = self._fetcher.fetch(log, offset, self._start_of(log), FetchLimits(1, None))
        if not records:
            raise OffsetOutOfRangeError(offset, self._start_of(log), log.end_offset)
        return records[0]

    def _content_of(self, log: AnyLog, offset: int, salt: bytes) -> Content:
        """What a proof contains of the record: its entry, if still visible, and its salt."""
        from merkql.storage.collecting import content_of

        try:
            is_shown = offset >= self._start_of(log)
            return content_of(log, self.read(offset) if is_shown else None, salt)
        except OffsetOutOfRangeError:
            return content_of(log, None, salt)  # retained away since we looked
