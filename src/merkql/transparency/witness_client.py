"""Asks witnesses to cosign a partition's newest checkpoint, and stores their signatures.

No lock of the log is held while it waits for a witness, so writing goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from merkql.errors import MerkqlError
from merkql.proof import ProofError
from merkql.storage.history import KeptCheckpoint
from merkql.storage.partition import Partition
from merkql.transparency.note import Note, Signature, parse_note, parse_signatures, verified_by
from merkql.transparency.policy import Party, Policy
from merkql.transparency.web import Web, WebError
from merkql.transparency.witness_protocol import (
    ADD_CHECKPOINT,
    BODY_SIZE_MAX,
    AddCheckpoint,
    ProtocolError,
    parse_size,
)

logger = logging.getLogger("merkql.transparency")
TRIES = 3  # its size may differ from what we know, and change meanwhile
_MEANINGS = {
    400: "it calls the request malformed",
    403: "it does not trust the key of this log",
    404: "it does not know this log",
    422: "it has seen this log with another past",
}


@dataclass(frozen=True, slots=True)
class CosignReport:
    """The checkpoint with all its signatures, and which witnesses did not sign.

    ``refused`` says why, by the witness's name in the policy.
    """

    checkpoint: KeptCheckpoint
    signed: tuple[str, ...]
    refused: dict[str, str] = field(default_factory=dict)
    has_quorum: bool = True


def cosign(partition: Partition, policy: Policy, *, web: Web | None = None) -> CosignReport:
    """Have every witness of the policy that is reachable and agrees sign the newest checkpoint.

    Raises ``ValueError`` if nothing was signed yet. A witness that refuses, answers wrongly, or is
    late is reported and logged, and does not affect the others.
    """
    kept = partition.checkpoints()
    if not kept:
        raise ValueError("nothing was signed yet: make a checkpoint, then have it cosigned")
    newest, note = kept[-1], parse_note(kept[-1].note)
    there = verified_by(note, [party.key for party in policy.witnesses.values()])
    asked = {n: p for n, p in policy.witnesses.items() if p.url and p.key not in there}
    own, web = web is None, web or Web()

    questions = {
        name: _Question(web, party, note, newest.size, _last_signed(kept[:-1], party))
        for name, party in asked.items()
    }
    answers = _ask_all(questions, partition, TRIES * web.timeout_s)
    if own:
        web.close()
    signatures = [one for one in answers.values() if isinstance(one, Signature)]
    refused = {name: one for name, one in answers.items() if isinstance(one, str)}
    for name, reason in refused.items():
        logger.warning("witness %s did not sign %s: %s", name, newest, reason)
    if signatures:
        newest = replace(newest, note=note.with_signatures(signatures).encode())
        partition.keep(newest)
    names = [n for n, p in policy.witnesses.items() if p.key in there or n in answers]
    signed = tuple(name for name in names if name not in refused)
    return CosignReport(newest, signed, refused, policy.satisfied_by(signed))


def _ask_all(
    questions: dict[str, _Question], partition: Partition, timeout_s: float
) -> dict[str, Signature | str]:
    """Ask all at once; each name's signature, or why there is none. Late ones are abandoned."""
    answers: dict[str, Signature | str] = dict.fromkeys(questions, "it did not answer in time")

    def ask(name: str) -> None:
        try:
            answers[name] = questions[name].ask(partition)
        except (ProofError, WebError, MerkqlError) as error:
            answers[name] = str(error)

    threads = [
        threading.Thread(target=ask, args=(name,), name="merkql-cosign", daemon=True)
        for name in questions
    ]
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(answers)


def _last_signed(kept: Sequence[KeptCheckpoint], party: Party) -> int:
    """The size of the newest checkpoint with a signature of this witness's key."""
    wanted = (party.key.name, party.key.id)
    for one in reversed(kept):
        if wanted in [(s.name, s.key_id) for s in parse_note(one.note).signatures]:
            return one.size
    return 0


@dataclass(slots=True)
class _Question:
    """One checkpoint presented to one witness."""

    web: Web
    party: Party
    note: Note
    size: int
    known_size: int  # the size it signed last, as far as we know

    def ask(self, partition: Partition) -> Signature:
        """Its cosignature, checked; ``ProtocolError`` or ``WebError`` says why there is none."""
        old_size = self.known_size
        for _ in range(TRIES):
            proof = partition.consistency_proof(old_size, self.size).path if old_size else ()
            request = AddCheckpoint(old_size, tuple(proof), self.note.encode())
            answer = self.web.request(
                "POST",
                f"{self.party.url.rstrip('/')}/{ADD_CHECKPOINT}",
                body=request.encode(),
                content_type="text/plain; charset=utf-8",
                size_max=BODY_SIZE_MAX,
            )
            if answer.status == 200:
                return self._signature(answer.body)
            if answer.status != 409:
                meaning = _MEANINGS.get(answer.status, "it did not sign")
                said = answer.body[:200].decode(errors="replace").strip()
                raise ProtocolError(f"{meaning} ({answer.status}: {said})")
            held = parse_size(answer.body)
            if held > self.size:
                raise ProtocolError(
                    f"it has seen {held} records of this log, and the checkpoint has {self.size}: "
                    "a newer checkpoint was made, or a second log has this key"
                )
            if held == old_size:
                raise ProtocolError(f"it holds {held} records and will not go on from there")
            old_size = held
        raise ProtocolError(f"it held another size each of {TRIES} times")

    def _signature(self, body: bytes) -> Signature:
        lines = parse_signatures(body)
        found = verified_by(Note(self.note.text, lines), [self.party.key])
        if self.party.key not in found:
            raise ProtocolError("it answered without a signature of its key")
        return found[self.party.key]
