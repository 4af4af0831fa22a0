"""Collects the content of an evidence bundle from a partition and writes it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from merkql import bundle
from merkql._core.leaf import entry as entry_bytes
from merkql._core.leaf import record_digest
from merkql._core.record import Record
from merkql.errors import CorruptionError, OffsetOutOfRangeError
from merkql.proof import ProofError, leaf_hash, parse_checkpoint
from merkql.proofs import RangeProof, checkpoint_text, record_to_json
from merkql.storage import layout
from merkql.storage.entry_runs import entries_of
from merkql.storage.evidence import Content
from merkql.storage.files import replace_file
from merkql.storage.history import KeptCheckpoint
from merkql.storage.index_repair import AnyLog
from merkql.storage.tree_space import HASH_SIZE, NO_SALT, SALT_SIZE


class Source(Protocol):
    """What is needed of a partition."""

    topic: str
    index: int

    @property
    def start_offset(self) -> int:
        """The first visible offset."""

    def read_range(self, start: int, stop: int) -> list[Record]:
        """The records from ``start`` up to ``stop``."""

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


def write_bundle(source: Source, log: AnyLog, place: tuple[int, int], path: str) -> RangeProof:
    """Write the bundle of the records from ``place[0]`` up to ``place[1]``, atomically."""
    first, stop = place
    kept = [one for one in source.checkpoints() if one.size >= stop][-1:]
    proof = source.prove_range(first, stop, kept[0].size if kept else None)
    leaves = log.tree.read([(0, first, stop - first)])[0]
    left = [leaves[at : at + HASH_SIZE] for at in range(0, len(leaves), HASH_SIZE)]
    records = _records(source, first, stop)
    for offset in [record.offset for record in records if record.erased]:
        left[offset - first] = entries_of(log, offset, offset + 1)[0]
    salts = salts_of(log, first, stop - first)
    there = [record for record in records if not record.erased]
    files = _files(proof, left, (there, salts), kept)
    try:
        content = bundle.pack(files)
    except ProofError as error:
        raise CorruptionError(log.tree.directory, first * HASH_SIZE, str(error)) from None
    replace_file(log.pool.files, path, content)
    return proof


def _records(source: Source, first: int, stop: int) -> list[Record]:
    for _ in range(3):
        start = max(first, source.start_offset)
        try:
            return source.read_range(start, stop) if start < stop else []
        except OffsetOutOfRangeError:
            continue  # retention overtook us
    return []


def _files(
    proof: RangeProof,
    left: Sequence[bytes],
    content: tuple[Sequence[Record], Sequence[bytes]],
    kept: Sequence[KeptCheckpoint],
) -> dict[str, bytes]:
    records, salts = content
    entries = [one.hex() for one in left]  # leaf hashes; the entries themselves for erased records
    lines = []
    for record in records:
        salt = salts[record.offset - proof.first]
        entry = entry_of(record, salt)
        if leaf_hash(entry).hex() == entries[record.offset - proof.first]:
            entries[record.offset - proof.first] = entry.hex()
        lines.append(record_to_json(record, salt, indent=None))
    note = f"{checkpoint_text(f'{proof.topic}/{proof.partition}', proof.size, proof.root)}\n"
    text = kept[0].note if kept else note.encode()
    files = {
        "README.txt": _readme(proof, len(records), text).encode(),
        bundle.RANGE: proof.to_json().encode(),
        bundle.RECORDS: "".join(lines).encode(),
        bundle.ENTRIES: "".join(f"{entry}\n" for entry in entries).encode(),
        bundle.CHECKPOINT: text,
    }
    tokens = kept[0].timestamps if kept else ()
    for number, token in enumerate(tokens, 1):
        files[bundle.TIMESTAMP.format(number)] = token
    return files if records else {name: files[name] for name in files if name != bundle.RECORDS}


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


def absolute(path: str | os.PathLike[str]) -> str:
    """The absolute path, whatever the working directory becomes."""
    return os.path.abspath(os.fspath(path))
