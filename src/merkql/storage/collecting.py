"""Collects the content of an evidence bundle from a partition and writes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Protocol, overload

from merkql import bundle
from merkql._core.leaf import entry as entry_bytes
from merkql._core.leaf import record_digest
from merkql._core.record import Record
from merkql.errors import CorruptionError, OffsetOutOfRangeError
from merkql.proof import RECORD, ProofError, leaf_hash, leaf_of, parse_checkpoint, parse_json
from merkql.proofs import RangeProof, checkpoint_text, record_to_json
from merkql.storage import layout
from merkql.storage.entry_runs import entries_of
from merkql.storage.evidence import Content
from merkql.storage.file_stream import replacing_file
from merkql.storage.history import KeptCheckpoint
from merkql.storage.index_repair import AnyLog
from merkql.storage.salts import with_salts
from merkql.storage.tree_space import HASH_SIZE, NO_SALT, SALT_SIZE

RUN = 4096  # records in memory at once
RUN_BYTES = 1 << 20  # likewise


class Source(Protocol):
    """What is needed of a partition."""

    topic: str
    index: int

    @property
    def start_offset(self) -> int:
        """The first visible offset."""

    def fetch(self, offset: int, *, max_records: int, max_bytes: int) -> list[Record]:
        """Records from ``offset`` on: at least one if there is any."""

    def salts(self, first: int, stop: int) -> bytes:
        """Their salts; empty if the topic is not erasable."""

    def entries(self, first: int, stop: int) -> list[bytes]:
        """The entries of those that retention has not removed, erased ones too."""

    def prove_range(self, first: int, stop: int, size: int | None = None) -> RangeProof:
        """Their proof."""

    def checkpoints(self) -> list[KeptCheckpoint]:
        """Every checkpoint made, in order."""


def salts_of(log: AnyLog, first: int, count: int) -> list[bytes]:
    """The salts of these records; empty for erased ones, and if the topic is not erasable."""
    if not log.has_salts:
        return [b""] * count
    path = layout.tree_salts(log.tree.directory)
    salts = log.pool.read(path, SALT_SIZE * count, first * SALT_SIZE)
    each = [salts[at * SALT_SIZE : (at + 1) * SALT_SIZE] for at in range(count)]
    return [b"" if salt == NO_SALT else salt for salt in each]


def entry_of(record: Record, salt: bytes) -> bytes:
    """The log entry of a record."""
    digest = record_digest(record.key, record.value, record.headers, salt)
    return entry_bytes(record.offset, record.timestamp_ms, digest)


def content_of(log: AnyLog, record: Record | None, salt: bytes) -> Content:
    """What a proof contains of a record: of an erased one its entry, of None only the salt."""
    if record is None:
        return Content(None, None, salt)
    if record.erased:
        (entry,) = entries_of(log, record.offset, record.offset + 1)
        return Content(entry, leaf_hash(entry), b"")
    entry = entry_of(record, salt)
    return Content(entry, leaf_hash(entry), salt)


@dataclass
class _Collection:
    """The members of a bundle, generated in chunks, each checked before it is written."""

    source: Source
    log: AnyLog
    proof: RangeProof
    kept: KeptCheckpoint | None  # the checkpoint that covers the records
    there: int = 0  # records that were written

    def members(self) -> Iterator[tuple[str, Iterable[bytes]]]:
        """Name and content of each, in archive order."""
        note = self.note()
        yield bundle.RANGE, [self.proof.to_json().encode()]
        yield bundle.RECORDS, self.records()
        yield bundle.ENTRIES, self.entries()
        yield bundle.CHECKPOINT, [note]
        for number, token in enumerate(self.kept.timestamps if self.kept else (), 1):
            yield bundle.TIMESTAMP.format(number), [token]
        yield "README.txt", [_readme(self.proof, self.there, note).encode()]

    def note(self) -> bytes:
        """The checkpoint, or an unsigned one if nothing was signed."""
        if self.kept is not None:
            return self.kept.note
        proof = self.proof
        text = checkpoint_text(f"{proof.topic}/{proof.partition}", proof.size, proof.root)
        return f"{text}\n".encode()

    def records(self) -> Iterator[bytes]:
        """The records that are neither removed nor erased, a line each."""
        offset, stop = max(self.proof.first, self.source.start_offset), self.proof.stop
        while offset < stop:
            try:
                records, salts = with_salts(self.source, offset, min(stop - offset, RUN), RUN_BYTES)
            except OffsetOutOfRangeError:
                if self.source.start_offset <= offset:
                    raise
                offset = self.source.start_offset  # removed by retention meanwhile
                continue
            if not records:
                return  # the rest are control batches
            first, offset = records[0].offset, records[-1].offset + 1
            here = [one for one in records if one.offset < stop and not one.erased]
            if here:
                self.there += len(here)
                yield self._lines(here, salts, first)

    def _lines(self, records: Sequence[Record], salts: bytes, first: int) -> bytes:
        leaves = _leaves(self.log, first, records[-1].offset + 1)
        lines = []
        for record in records:
            at = record.offset - first
            salt = salts[at * SALT_SIZE : (at + 1) * SALT_SIZE]
            line = record_to_json(record, salt, indent=None)
            saved = SimpleNamespace(**parse_json(line, RECORD))  # as whoever checks it will
            if leaf_of(saved, saved.salt) != leaves[at]:
                reason = f"the leaf of offset {record.offset} is not that of its record"
                path = layout.tree_level(self.log.tree.directory, 0)
                raise CorruptionError(path, record.offset * HASH_SIZE, reason)
            lines.append(line)
        return "".join(lines).encode()

    def entries(self) -> Iterator[bytes]:
        """The entry of each record, or the leaf hash of one that was removed, a line each."""
        for first in range(self.proof.first, self.proof.stop, RUN):
            stop = min(first + RUN, self.proof.stop)
            leaves = _leaves(self.log, first, stop)
            there = self.source.entries(first, stop)  # those at the end of the run
            gone = leaves[: len(leaves) - len(there)]
            lines = [leaf.hex() for leaf in gone]
            for entry, leaf in zip(there, leaves[len(gone) :], strict=True):
                lines.append((entry if leaf_hash(entry) == leaf else leaf).hex())
            yield "".join(f"{line}\n" for line in lines).encode()


class _Leaves(Sequence[bytes]):
    """Stored leaf hashes, read in runs as they are asked for in order."""

    def __init__(self, log: AnyLog, first: int, stop: int) -> None:
        self._log, self._first, self._stop = log, first, stop
        self._begin, self._run = first, [b""] * 0

    def __len__(self) -> int:
        return self._stop - self._first

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | Sequence[bytes]:
        assert isinstance(at, int)
        offset = self._first + at
        if not self._begin <= offset < self._begin + len(self._run):
            self._begin = offset
            self._run = _leaves(self._log, offset, min(offset + RUN, self._stop))
        return self._run[offset - self._begin]


def _leaves(log: AnyLog, first: int, stop: int) -> list[bytes]:
    leaves = log.tree.read([(0, first, stop - first)])[0]
    return [leaves[at : at + HASH_SIZE] for at in range(0, len(leaves), HASH_SIZE)]


def write_bundle(source: Source, log: AnyLog, place: tuple[int, int], path: str) -> RangeProof:
    """Write the bundle of the records from ``place[0]`` up to ``place[1]``, atomically."""
    first, stop = place
    kept = next((one for one in reversed(source.checkpoints()) if one.size >= stop), None)
    proof = source.prove_range(first, stop, kept.size if kept else None)
    collection = _Collection(source, log, proof, kept)
    try:
        root = parse_checkpoint(collection.note()).root
        proof.check_leaves(_Leaves(log, first, stop), root)
        with replacing_file(log.pool.files, path) as file:
            bundle.write(file, collection.members())
    except ProofError as error:
        raise CorruptionError(log.tree.directory, first * HASH_SIZE, str(error)) from None
    return proof


def _readme(proof: RangeProof, count: int, note: bytes) -> str:
    asked = proof.stop - proof.first
    offsets = f"{proof.first} to {proof.stop - 1}" if asked > 1 else f"{proof.first}"
    gone = asked - count
    return bundle.README.format(
        what=f"{asked} record{'s stand' if asked > 1 else ' stands'} at offset {offsets}",
        size=proof.size,
        there=f", {gone} of which are gone from it, but for their entries" if gone else "",
        origin=parse_checkpoint(note).origin,
        signed="" if note.rstrip(b"\n").count(b"\n") > 2 else "NOBODY SIGNED THIS CHECKPOINT.",
    )
