"""Compares the checkpoints a partition signed with its records: a log has one history.

Compares sizes and roots; signatures are checked where the keys are known.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from merkql.errors import CorruptionError, HistoryError
from merkql.proof import ProofError
from merkql.storage.checkpoint_file import TIMESTAMP, CheckpointFile, Frame
from merkql.storage.evidence import root_of
from merkql.storage.index_repair import AnyLog
from merkql.storage.partition_log import PartitionLog
from merkql.storage.tree_repair import rebuild_whole_tree
from merkql.transparency.checkpoint import Checkpoint, parse_checkpoint
from merkql.transparency.note import parse_note

logger = logging.getLogger("merkql.recovery")


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A checkpoint that a partition signed and stored.

    ``note`` is what is given away: text, the log's signature, witnesses' cosignatures.
    ``timestamps`` are RFC 3161 responses over the note's text. ``time_ms`` is the log's own clock.
    """

    origin: str
    size: int
    root: bytes
    time_ms: int
    note: bytes
    timestamps: tuple[bytes, ...] = ()

    @property
    def text(self) -> bytes:
        """The signed text, without the signatures."""
        return parse_note(self.note).text

    @classmethod
    def of_note(cls, note: bytes, time_ms: int) -> KeptCheckpoint:
        """The checkpoint of a note; ``ProofError`` for one that is malformed."""
        checkpoint = _checkpoint_of(note)
        return cls(checkpoint.origin, checkpoint.size, checkpoint.root, time_ms, note)

    def __str__(self) -> str:
        from datetime import datetime, timezone  # here, as only messages need it

        when = datetime.fromtimestamp(self.time_ms / 1000, timezone.utc)
        return f"the checkpoint over {self.size} records of {when:%Y-%m-%d %H:%M:%S} UTC"


@lru_cache(maxsize=16)
def _checkpoint_of(note: bytes) -> Checkpoint:
    """Cached, because the same few notes are parsed again and again."""
    return parse_checkpoint(parse_note(note).text)


def read_kept(file: CheckpointFile, frame: Frame) -> KeptCheckpoint:
    """The checkpoint in a frame; ``CorruptionError`` if it holds something else."""
    try:
        kept = KeptCheckpoint.of_note(frame.content, frame.time_ms)
    except ProofError as error:
        raise CorruptionError(file.path, frame.position, str(error)) from None
    if kept.size != frame.tree_size:
        raise CorruptionError(file.path, frame.position, "a kept checkpoint is of another size")
    return kept


def newest_kept(file: CheckpointFile) -> KeptCheckpoint | None:
    """The newest checkpoint, without its timestamps; None if there is none."""
    frame = file.newest()
    return None if frame is None else read_kept(file, frame)


def all_kept(file: CheckpointFile) -> list[KeptCheckpoint]:
    """Every checkpoint in order, once each, with what was added to it later."""
    found: dict[tuple[int, bytes], KeptCheckpoint] = {}
    for frame in file.frames():
        if frame.kind == TIMESTAMP:
            for key in [key for key in found if key[0] == frame.tree_size][-1:]:
                tokens = (*found[key].timestamps, frame.content)
                found[key] = replace(found[key], timestamps=tokens)
            continue
        kept = read_kept(file, frame)
        before = found.get((kept.size, kept.root))
        if before is not None:
            kept = replace(kept, time_ms=before.time_ms, timestamps=before.timestamps)
        found[kept.size, kept.root] = kept
    return list(found.values())


def check_opened(log: PartitionLog, *, clean: bool) -> None:
    """Compare a newly opened partition with its newest checkpoint; sets its ``refusal``.

    ``clean``: it was closed cleanly, so none of its files can be torn. Cost: one ``stat`` if
    nothing was ever signed, else a few reads.
    """
    file = CheckpointFile(log.pool, log.directory)
    if not log.pool.exists(file.path):
        return
    try:
        end, is_torn = file.end()
        if is_torn and clean:
            reason = "the newest checkpoint is damaged; restore the file from a copy"
            raise CorruptionError(file.path, end, reason)
        if is_torn:
            logger.warning("%s: cut at byte %d: a checkpoint was not finished", file.path, end)
            log.pool.truncate(file.path, end)
            log.pool.sync(file.path)
        kept = newest_kept(file)
        if kept is not None:
            check_agrees(log, kept, file.path, root_mended)
            check_place(log, kept, file.path)
    except CorruptionError as refusal:
        refuse(log, refusal)


def refuse(log: PartitionLog, reason: CorruptionError) -> None:
    """Refuse all further writes to the partition."""
    logger.error("%s", reason)
    log.refusal = reason


def check_place(log: AnyLog, kept: KeptCheckpoint, path: str) -> None:
    """``HistoryError`` if the checkpoint belongs to another partition: files were moved."""
    topic_id, place = log.id.topic_id.hex()[:8], f"{log.id.topic}/{log.id.index}"
    if not kept.origin.endswith(f".{topic_id}/{place}"):
        raise HistoryError(
            path,
            0,
            f"{kept} is of {kept.origin}, and the directory is that of {place}: files were moved; "
            "put each back where it was",
        )


def check_agrees(
    log: AnyLog,
    kept: KeptCheckpoint,
    path: str,
    root_at: Callable[[AnyLog, int], bytes] = root_of,
) -> None:
    """``HistoryError``, naming ``path``, if the log does not continue from this checkpoint."""
    if kept.size > log.end_offset:
        raise HistoryError(
            path,
            0,
            f"{kept} was signed, and the log holds only {log.end_offset} records: it lost some, "
            "or is an older copy; put the newest copy back",
        )
    if not kept.size or root_at(log, kept.size) == kept.root:
        return
    raise HistoryError(
        path,
        0,
        f"{kept} was signed, and the first {kept.size} records of the log have another root: they "
        "were changed, or this is another log; put the right copy back",
    )


def verify_kept(
    log: AnyLog, check_note: Callable[[bytes], object] | None = None
) -> list[KeptCheckpoint]:
    """Compare every stored checkpoint with the records, and return them.

    ``check_note`` gets each note and raises ``ProofError`` for a wrong signature. Raises
    ``HistoryError``, which states since when log and checkpoints disagree. Writes nothing.
    """
    file = CheckpointFile(log.pool, log.directory)
    end, is_torn = file.end()
    kept = all_kept(file)
    good: KeptCheckpoint | None = None
    for one in kept:
        try:
            check_agrees(log, one, file.path)
            check_place(log, one, file.path)
            if good is not None and one.size < good.size:
                raise HistoryError(file.path, 0, f"{one} was signed after {good}")
            if check_note is not None:
                check_note(one.note)
        except HistoryError as error:
            since = f"it agrees up to {good}; " if good is not None else "it agrees with none; "
            raise HistoryError(error.path, 0, since + error.reason) from None
        except ProofError as error:
            raise CorruptionError(file.path, 0, f"{one}: {error}") from None
        good = one
    if is_torn:
        raise CorruptionError(file.path, end, "what follows the last checkpoint is not one")
    return kept


def root_mended(log: AnyLog, size: int) -> bytes:
    """The root, from a rebuilt tree if stored hashes are damaged."""
    try:
        return root_of(log, size)
    except CorruptionError as damage:
        if not isinstance(log, PartitionLog):
            raise
        logger.warning("%s", damage)
    rebuild_whole_tree(log, log.frontier.peaks)
    return root_of(log, size)
