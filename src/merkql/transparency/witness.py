"""A witness: cosigns a log's checkpoints after checking that it only grew (c2sp.org/tlog-witness).

The newest checkpoint it signed for each log is on disk before the signature leaves, together with
that signature: what is read back later was written by this witness, or is refused.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from hashlib import sha256

from merkql.errors import CorruptionError, DirectoryLockedError
from merkql.proof import ProofError, roots_from_consistency
from merkql.storage.files import Files, read_file, replace_file
from merkql.transparency.checkpoint import Checkpoint, parse_checkpoint
from merkql.transparency.note import (
    COSIGNATURE,
    Note,
    NoteError,
    SigningKey,
    VerifierKey,
    parse_note,
    verified_by,
)
from merkql.transparency.policy import key_for
from merkql.transparency.witness_protocol import (
    SIZE_TYPE,
    AddCheckpoint,
    Answer,
    parse_request,
    refusal,
)

logger = logging.getLogger("merkql.witness")


class Witness:
    """One witness, with its state in ``directory``. Safe to share between threads.

    ``logs`` are the keys it accepts. A key is valid for its own name as origin, and for every
    origin that begins with that and a slash, as a merkql log has one for each partition.
    """

    def __init__(
        self,
        key: SigningKey,
        logs: Sequence[VerifierKey],
        directory: str | os.PathLike[str],
        *,
        files: Files | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Open or create the state; ``DirectoryLockedError`` if another witness has it."""
        if key.algorithm != COSIGNATURE:
            raise ValueError("a witness has a key of its own: merkql keygen --witness")
        self.key = key
        self._logs = tuple(logs)
        self._directory = os.path.abspath(os.fspath(directory))
        self._files = files or Files()
        self._now_s = now_s
        self._lock = threading.Lock()
        self._files.make_directories(self._directory)
        lock = os.path.join(self._directory, "lock")
        self._descriptor = self._files.open(lock, write=True, create=True)
        if not self._files.lock(self._descriptor, wait=False):
            self._files.close(self._descriptor)
            raise DirectoryLockedError(self._directory, "another witness")

    def close(self) -> None:
        """Release the state directory."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._files.close(descriptor)

    def __enter__(self) -> Witness:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer a request to cosign a checkpoint, which is stored durably before.

        Raises ``CorruptionError`` if the state is damaged: nothing is signed then.
        """
        try:
            request = parse_request(body)
            note = parse_note(request.note)
            checkpoint = parse_checkpoint(note.text)
        except NoteError as error:
            return refusal(400, str(error))
        keys = [key_for(key, checkpoint.origin) for key in self._logs]
        known = [key for key in keys if key is not None]
        if not known:
            return refusal(404, f"no log {checkpoint.origin} is known here")
        try:
            by_log = verified_by(note, known)
        except NoteError as error:
            return refusal(403, str(error))
        if not by_log:
            return refusal(403, "no key that is known here signed this")
        # Anybody may add lines to a note; only the log's are stored and shown to others.
        note = Note(note.text, tuple(by_log.values()))
        if request.old_size > checkpoint.size:
            return refusal(400, "the old size is larger than that of the checkpoint")
        with self._lock:
            return self._answer(request, note, checkpoint)

    def newest(self, origin: str) -> Note | None:
        """The newest checkpoint signed for an origin; ``CorruptionError`` if it is damaged."""
        path = self._path(self.log_name(origin))
        try:
            note = parse_note(read_file(self._files, path))
            if parse_checkpoint(note.text).origin != origin:
                raise NoteError("it is the checkpoint of another log")
            if not verified_by(note, [self.key.verifier]):
                raise NoteError("this witness did not sign it")
        except FileNotFoundError:
            return None
        except ProofError as error:
            reason = f"{error}; nothing is signed for this log until it is put back"
            raise CorruptionError(path, 0, reason) from None
        return note

    def published(self, log_name: str) -> bytes | None:
        """The newest checkpoint of the log with that name, for monitors; None without one."""
        if len(log_name) != 64 or not set(log_name) <= set("0123456789abcdef"):
            return None
        try:
            return read_file(self._files, self._path(log_name))
        except FileNotFoundError:
            return None

    @staticmethod
    def log_name(origin: str) -> str:
        """A log's name in paths: the SHA-256 of its origin, in hexadecimal."""
        return sha256(origin.encode()).hexdigest()

    def _answer(self, request: AddCheckpoint, note: Note, checkpoint: Checkpoint) -> Answer:
        newest = self.newest(checkpoint.origin)
        held = parse_checkpoint(newest.text) if newest is not None else None
        held_size = held.size if held is not None else 0
        if request.old_size != held_size:
            return Answer(409, b"%d\n" % held_size, SIZE_TYPE)
        reason = _contradiction(held, checkpoint, request.proof)
        if reason:
            logger.error("%s at %d records: %s", checkpoint.origin, checkpoint.size, reason)
            return refusal(422, reason)
        cosignature = self.key.sign(note.text, int(self._now_s()))
        signed = Note(note.text, (*note.signatures, cosignature))
        replace_file(self._files, self._path(self.log_name(checkpoint.origin)), signed.encode())
        return Answer(200, cosignature.line())

    def _path(self, log_name: str) -> str:
        return os.path.join(self._directory, f"{log_name}.checkpoint")


def _contradiction(held: Checkpoint | None, new: Checkpoint, proof: Sequence[bytes]) -> str:
    """Why the new checkpoint is not consistent with the stored one; empty if it is."""
    if not new.is_possible:
        return "an empty log has another root"
    if held is None or not held.size:
        return "a proof from size 0 must be empty" if proof else ""
    try:
        roots = roots_from_consistency(held.size, new.size, held.root, tuple(proof))
    except ProofError as error:
        return f"not a consistency proof: {error}"
    if roots != (held.root, new.root):
        same = "the same size has another root" if held.size == new.size else "a fork"
        return f"{same}: the proof does not lead from the checkpoint signed here to this one"
    return ""
