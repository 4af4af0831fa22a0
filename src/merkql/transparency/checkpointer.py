"""Signs checkpoints of the partitions of one data directory, and never two histories of one.

Before it signs, it compares the log with the newest checkpoint kept in the partition and beside the
key, while no record is written and no other process signs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from merkql.errors import CorruptionError, HistoryError, NoSigningKeyError, again
from merkql.storage.checkpoint_file import (
    CHECKPOINT,
    COSIGNED,
    TIMESTAMP,
    CheckpointFile,
    Frame,
)
from merkql.storage.engine import Engine
from merkql.storage.files import Files
from merkql.storage.history import (
    KeptCheckpoint,
    all_kept,
    check_agrees,
    check_opened,
    newest_kept,
    refuse,
    root_mended,
)
from merkql.storage.partition_log import PartitionLog
from merkql.transparency.checkpoint import Checkpoint, make_origin
from merkql.transparency.heads import Head, Heads
from merkql.transparency.key_file import read_key, refuse_data_directory
from merkql.transparency.note import ED25519, Note, NoteError, SigningKey, parse_note, verified_by

HEADS_SUFFIX = ".heads"


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that signs checkpoints, and where its newest checkpoints are kept (None: nowhere)."""

    key: SigningKey
    heads: Heads | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Signer:
        """The key in a file; its newest checkpoints are kept in ``<path>.heads/``."""
        place = os.path.realpath(os.fspath(path))
        refuse_data_directory(place)
        return cls(read_key(place), Heads(Files(), place + HEADS_SUFFIX))


class Checkpointer:
    """Makes the checkpoints of one open data directory. Safe to share between threads."""

    def __init__(self, engine: Engine, signers: Sequence[Signer]) -> None:
        """All signers sign, which is for the time of a key change."""
        names = {signer.key.name for signer in signers}
        if len(names) > 1:
            raise ValueError(
                f"keys of one log need one name, as its origin stays: {', '.join(sorted(names))}"
            )
        if any(signer.key.algorithm != ED25519 for signer in signers):
            raise ValueError("a witness's key cannot sign for a log")
        self._engine = engine
        self._signers = tuple(signers)
        self._files: dict[str, CheckpointFile] = {}
        known = {one.heads.directory: one.heads for one in signers if one.heads is not None}
        self._heads = [known[directory] for directory in sorted(known)]  # locked in one order

    @property
    def can_sign(self) -> bool:
        """Whether the broker was opened with a signing key."""
        return bool(self._signers)

    def check_opened(self, log: PartitionLog, *, clean: bool) -> None:
        """Compare a newly opened partition with its checkpoints; sets its ``refusal``."""
        check_opened(log, clean=clean)
        if log.refusal is not None or log.damage is not None:
            return
        try:
            for heads in self._heads:
                if heads.knows(self.origin(log)):
                    with heads.held(self.origin(log)) as head:
                        _check_head(log, head)
        except CorruptionError as refusal:
            refuse(log, refusal)

    def origin(self, log: PartitionLog) -> str:
        """The origin in a partition's checkpoints."""
        self._check_can_sign()
        log_id = self._engine.info.log_id
        name = self._signers[0].key.name
        return make_origin(name, log_id, log.id.topic_id, (log.id.topic, log.id.index))

    def make(self, log: PartitionLog) -> KeptCheckpoint:
        """Sign the root over all records; durable, here and beside the key, when it returns.

        Returns the newest checkpoint if it has that size and every key's signature. Raises
        ``HistoryError`` if the log contradicts what was signed: from then on nothing is written to
        it. Cost: two syncs and about 100 µs; writing waits meanwhile.
        """
        self._check_can_sign()
        with self._engine.exclusive(), contextlib.ExitStack() as stack:
            self._engine.turn.lead(log)
            if log.damage is not None:
                raise again(log.damage)
            if log.refusal is not None:
                raise again(log.refusal)
            self._engine.sync_wal()
            origin = self.origin(log)
            heads = [stack.enter_context(heads.held(origin)) for heads in self._heads]
            try:
                return self._make(log, origin, heads)
            except HistoryError as refusal:
                refuse(log, refusal)
                raise

    def _make(self, log: PartitionLog, origin: str, heads: list[Head]) -> KeptCheckpoint:
        file = self._file_of(log)
        newest = newest_kept(file)
        if newest is not None:
            check_agrees(log, newest, file.path, root_mended)
            _check_origin(newest, origin)
        for head in heads:
            if newest is None or not _is_same(head.newest, newest):  # `newest` is checked already
                _check_head(log, head)
            if head.newest is not None and head.newest.size > (newest.size if newest else -1):
                self._engine.clear_clean_mark()
                newest = _keep(file, head.newest)  # signed just before a crash, and not stored here
        size = log.end_offset
        checkpoint = Checkpoint(origin, size, root_mended(log, size))
        if newest is not None and newest.size == size and self._is_complete(newest, file.path):
            return newest
        text = checkpoint.text()
        note = Note(text, ())
        if newest is not None and newest.size == size:
            note = parse_note(newest.note)  # one more key signs the same text
        signatures = [signer.key.named(origin).sign(text) for signer in self._signers]
        note = note.with_signatures(signatures)
        kept = KeptCheckpoint.of_note(note.encode(), self._engine.now_ms())
        self._engine.clear_clean_mark()
        for head in heads:
            head.write(kept)
        return _keep(file, kept)

    def _file_of(self, log: PartitionLog) -> CheckpointFile:
        """The partition's checkpoint file, which caches where its newest frame is."""
        file = self._files.get(log.directory)
        if file is None:
            file = self._files[log.directory] = CheckpointFile(log.pool, log.directory)
        return file

    def keep(self, log: PartitionLog, checkpoint: KeptCheckpoint) -> None:
        """Store signatures and timestamps that a checkpoint got since it was made.

        Durable when it returns. ``ValueError`` for a checkpoint that is not stored here, or for
        more signatures than a note may have.
        """
        with self._engine.exclusive():
            file = CheckpointFile(log.pool, log.directory)
            place = (checkpoint.size, checkpoint.root, checkpoint.origin)
            same = [one for one in all_kept(file) if (one.size, one.root, one.origin) == place]
            if not same:
                raise ValueError(f"{checkpoint} is not among those kept here")
            (kept,) = same
            before, given = parse_note(kept.note), parse_note(checkpoint.note)
            note = parse_note(before.with_signatures(given.signatures).encode())  # not too many
            time_ms = self._engine.now_ms()
            self._engine.clear_clean_mark()
            if note != before:
                file.append(Frame(COSIGNED, kept.size, time_ms, note.encode()))
            for token in checkpoint.timestamps:
                if token not in kept.timestamps:
                    file.append(Frame(TIMESTAMP, kept.size, time_ms, token))

    def _is_complete(self, kept: KeptCheckpoint, path: str) -> bool:
        """Whether every key has signed it."""
        keys = [signer.key.named(kept.origin).verifier for signer in self._signers]
        try:
            return len(verified_by(parse_note(kept.note), keys)) == len(keys)
        except NoteError as error:
            raise CorruptionError(path, 0, f"{kept}: {error}") from None

    def _check_can_sign(self) -> None:
        if not self._signers:
            raise NoSigningKeyError(
                "checkpoints are signed: make a key with `merkql keygen FILE` and open with "
                "signing_key=FILE"
            )


def _keep(file: CheckpointFile, kept: KeptCheckpoint) -> KeptCheckpoint:
    file.append(Frame(CHECKPOINT, kept.size, kept.time_ms, kept.note))
    return kept


def _is_same(one: KeptCheckpoint | None, other: KeptCheckpoint) -> bool:
    return one is not None and (one.size, one.root) == (other.size, other.root)


def _check_head(log: PartitionLog, head: Head) -> None:
    if head.newest is not None:
        check_agrees(log, head.newest, head.path, root_mended)


def _check_origin(newest: KeptCheckpoint, origin: str) -> None:
    if newest.origin != origin:
        raise ValueError(
            f"this log has signed as {newest.origin}, and would now as {origin}: a log keeps its "
            "origin; make the next key with the name of the last: merkql keygen --name"
        )


def signers_of(given: object) -> Iterator[Signer]:
    """The signers that ``signing_key`` names: a path, a ``Signer``, or several of these."""
    if given is None:
        return
    several = given if isinstance(given, (list, tuple)) else [given]
    for one in several:
        if isinstance(one, Signer):
            yield one
        elif isinstance(one, SigningKey):
            yield Signer(one)
        elif isinstance(one, (str, os.PathLike)):
            if str(one).startswith("PRIVATE+KEY+"):
                raise ValueError("signing_key is the path of a key's file, not the key's text")
            yield Signer.load(one)
        else:
            kind = type(one).__name__
            raise TypeError(f"signing_key is a path or a Signer, not {kind}")
