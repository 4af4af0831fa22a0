"""A partition as its users see it: records by offset and time, roots, proofs, what is kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from merkql._core.record import Record
from merkql.errors import CorruptionError, OffsetOutOfRangeError, UnknownTopicError, again
from merkql.storage import retention as retaining
from merkql.storage.arguments import check_offset, check_positive, check_range
from merkql.storage.fetching import (
    FETCH_BYTES,
    UNLIMITED,
    Fetcher,
    FetchLimits,
    read_quickly,
)
from merkql.storage.gaps import reason_of
from merkql.storage.index_repair import AnyLog, repair_index
from merkql.storage.partition_log import PartitionLog
from merkql.storage.tree_repair import is_mendable, rebuild_whole_tree, with_rebuilt_tree

if TYPE_CHECKING:  # what makes and checks evidence is loaded by the methods that need it
    from merkql.proofs import ConsistencyProof, Proof, RangeProof
    from merkql.storage.evidence import Content, Prover
    from merkql.storage.history import KeptCheckpoint
    from merkql.storage.partition_owner import PartitionOwner
    from merkql.storage.retention import RetentionConfig
    from merkql.storage.salvage import SalvagedRange
    from merkql.storage.verification import VerifyReport
    from merkql.transparency.publisher import PublishReport

Result = TypeVar("Result")
logger = logging.getLogger("merkql.recovery")
RETRIES = 3  # a reader may lose a race with retention; after it looked again it knows


class Partition:
    """One ordered log of records with a merkle tree over all it ever held.

    Safe to share between threads. Reading takes no lock a writer holds across a sync.
    """

    def __init__(
        self, owner: PartitionOwner, topic: str, index: int, now_ms: Callable[[], int]
    ) -> None:
        self._owner = owner
        self._now_ms = now_ms
        self.topic = topic
        self.index = index
        self._fetcher = Fetcher()
        # End, time, limits, and the first offset they show: looked for once while they stay.
        self._known_start: tuple[int, int, RetentionConfig | None, int] = (-1, 0, None, 0)

    def __repr__(self) -> str:
        return f"<Partition {self.topic}/{self.index}>"

    @cached_property
    def _prover(self) -> Prover:
        from merkql.storage.evidence import Prover

        return Prover()

    @property
    def start_offset(self) -> int:
        """The first offset retention still shows."""
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
        if self._start_of(log) <= offset < log.end_offset:
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
            raise OffsetOutOfRangeError(stop, self._start_of(log), log.end_offset)
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
        from merkql.storage.collecting import salts_of

        (salt,) = salts_of(log, offset, 1)  # kept for who saved the record, when ours is gone
        if offset >= self._start_of(log):
            proof = self._prover.inclusion_quickly(log, offset, size, salt)
            if proof is not None and not log.retired:
                return proof
        content = self._content_of(log, offset, salt)
        return self._with_tree(log, lambda: self._prover.inclusion(log, offset, size, content))

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
        """Under the records from ``first`` up to ``stop`` of an erasable topic, 16 bytes each."""
        from merkql.storage.collecting import salts_of

        return b"".join(self._with_log(lambda log: salts_of(log, first, stop - first)))

    def evidence(self, first: int, stop: int, path: str | os.PathLike[str]) -> RangeProof:
        """Write what shows the records from ``first`` up to ``stop`` to a stranger: a zip file.

        Records, entries, their proof, the newest checkpoint that covers them (else an unsigned
        one), programs that check it, and what it shows in words. Durable when it returns. Raises
        as ``prove_range`` does. Cost: in memory about four times the records' bytes.
        """
        from merkql.storage.collecting import absolute, write_bundle

        self.prove_range(first, stop)  # refuses what is not there, before anything is done
        return write_bundle(self, self._owner.open_log(self.index), (first, stop), absolute(path))

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

        return self._with_log(lambda log: publish(log, os.path.abspath(path)))

    def keep(self, checkpoint: KeptCheckpoint) -> None:
        """Keep what one of ``checkpoints()`` was given since: cosignatures, timestamps; durable."""
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
        """Apply retention and leave nothing outside its window but the tree; the bytes freed.

        0 where the disk holds more afterwards: what another client compressed with zstd or gzip is
        written anew as LZ4. Writing waits meanwhile. Cost: one segment is rewritten.
        """
        with self._owner.exclusive():
            return retaining.compact(self._writable(), self._owner.retention, self._now_ms())

    def verify(self, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """Recompute every checksum, leaf and root from the records up, and each kept checkpoint's.

        ``progress`` is told records done and records in all. Raises ``CorruptionError`` at the
        first thing that is wrong; only where records are sound and what is derived from them is
        not (index, stored hashes), a broker that writes makes that again, logs it, and goes on.
        Cost: a full read.
        """
        from merkql.storage.history import verify_kept

        report = self._verify(progress)
        self._with_log(verify_kept)
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
        """What is intact between two offsets of a damaged partition, and what is not.

        The call for damage: it passes what cannot be read and says which offsets that were.
        """
        from merkql.storage.salvage import salvage

        check_range(start, start if stop is None else stop)
        return self._with_log(lambda log: salvage(log, start, stop))

    def has_more(self, offset: int | None) -> bool:
        """Whether ``fetch`` at ``offset`` has something to say: records, or damage at the end."""
        log = self._owner.open_log(self.index)
        return log.end_offset != offset or log.damage is not None

    @property
    def damage(self) -> CorruptionError | None:
        """What is wrong with the partition, so that nothing can be written; or None.

        Its end is damaged, or it contradicts a checkpoint that it signed (``HistoryError``).
        """
        log = self._owner.open_log(self.index)
        return log.damage or (log.refusal if isinstance(log, PartitionLog) else None)

    def _with_log(self, work: Callable[[AnyLog], Result]) -> Result:
        """``work`` on the partition's state, again if retention took a segment meanwhile."""
        missing = FileNotFoundError()
        for _ in range(RETRIES):
            log = self._owner.open_log(self.index)
            try:
                result = work(log)
                self._check_here(log)
                return result
            except (CorruptionError, FileNotFoundError) as error:
                self._check_here(log)
                if not isinstance(error, FileNotFoundError):
                    raise
                missing = error
                log.look_again()
        raise CorruptionError(str(missing.filename), 0, reason_of(missing)) from missing

    def _check_here(self, log: AnyLog) -> None:
        """Raise if the topic was deleted meanwhile: the files may be another topic's by now."""
        if log.retired:
            raise UnknownTopicError(self.topic, "it was deleted")

    def _read(self, log: AnyLog, offset: int) -> Record:
        records = self._fetcher.fetch(log, offset, self._start_of(log), FetchLimits(1, None))
        if not records:
            raise OffsetOutOfRangeError(offset, self._start_of(log), log.end_offset)
        return records[0]

    def _start_of(self, log: AnyLog) -> int:
        limits = self._owner.retention
        if limits is retaining.NO_LIMITS:
            return log.start_offset
        now_ms = self._now_ms() if limits.max_age_ms is not None else 0
        known = self._known_start
        if known[:3] != (log.end_offset, now_ms, limits):
            start = retaining.visible_start(log, limits, now_ms)
            known = self._known_start = (log.end_offset, now_ms, limits, start)
        return max(known[3], log.start_offset)

    def _writable(self) -> PartitionLog:
        log = self._owner.open_log(self.index)
        assert isinstance(log, PartitionLog)
        if log.damage is not None:
            raise again(log.damage)
        return log

    def _check_size(self, log: AnyLog, size: int | None, name: str) -> int:
        if log.damage is not None:
            raise again(log.damage)  # its tree is not whole
        if size is None:
            return log.end_offset
        check_offset(size, name)
        if size > log.end_offset:
            raise OffsetOutOfRangeError(size, 0, log.end_offset)
        return size

    def _content_of(self, log: AnyLog, offset: int, salt: bytes) -> Content:
        """What a proof says of a record: its entry, where it is still shown, and its salt."""
        from merkql.storage.collecting import content_of

        try:
            is_shown = offset >= self._start_of(log)
            return content_of(self.read(offset) if is_shown else None, salt)
        except OffsetOutOfRangeError:
            return content_of(None, salt)  # retained away since we looked

    def _with_tree(self, log: AnyLog, work: Callable[[], Result]) -> Result:
        """``work()``, once more with a rebuilt tree where stored hashes are damaged."""
        try:
            result = work()
            self._check_here(log)
            return result
        except CorruptionError as damage:
            self._check_here(log)
            if not isinstance(log, PartitionLog) or not is_mendable(log, damage):
                raise
            found = damage
        with self._owner.exclusive():
            return with_rebuilt_tree(self._writable(), found, work)
