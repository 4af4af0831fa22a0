"""Proofs as objects, and records saved with them: made by a partition, written to texts, read back.

`merkql.proof` checks them, and is all that is needed where they go. Formats: docs/formats/proof.md,
range-proof.md, tlog-proof.md.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from merkql.checking import range_surely_holds, surely_holds
from merkql.proof import (
    FORMS,
    RECORD,
    TLOG_PROOF,
    ProofError,
    check_bytes,
    check_consistency,
    check_inclusion,
    check_int,
    check_range,
    leaf_of,
    need,
    parse_checkpoint,
    parse_json,
    parse_tlog_proof,
    root_from_range,
    roots_from_consistency,
)

Hashes = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Proof:
    """That a record stands at `index` in the tree of `size` records whose root is `root`.

    `topic` and `partition` say where the proof was made, and nothing proves them. `entry` is there
    if the record was, when the proof was made; `salt` if the topic is erasable.
    """

    index: int
    size: int
    leaf_hash: bytes
    path: tuple[bytes, ...]
    root: bytes
    entry: bytes | None = None
    salt: bytes = b""
    topic: str | None = None
    partition: int | None = None

    def verify(self, record: Any, root: bytes | None = None) -> bool:
        """Whether `check` passes. Give the `root`: without one, the proof's own is trusted."""
        return surely_holds(self, record, root) or _holds(self.check, record, root)

    def check(self, record: Any, root: bytes | None = None) -> None:
        """Recomputes all from the record up to the root; raises `ProofError` at a mismatch.

        With a `root` obtained elsewhere, passing means that this very record, its key, value,
        headers and timestamp, stands at this offset of that log. Without one it means only that the
        proof agrees with itself, and anybody can make such a proof for any record. The root does
        not vouch for `size`: take both from one source.
        """
        _need_record(record)
        _need_roots(root)
        check_inclusion(self, record, root)

    def check_leaf(self, root: bytes | None = None) -> None:
        """As `check` for a record that is gone: its leaf is in the tree, its content not seen."""
        _need_roots(root)
        check_inclusion(self, None, root)

    def to_json(self) -> str:
        """The proof as a JSON text, for `from_json` and for `merkql.proof` as a program."""
        return _to_json("merkql-proof/v1", self, bytes.hex)

    @classmethod
    def from_json(cls, text: str | bytes) -> Proof:
        """Reads what `to_json` wrote; raises `ProofError` on anything else. Checks no hash yet."""
        return cls(**parse_json(text, "merkql-proof/v1"))._whole()

    def to_tlog_proof(self, checkpoint: str | bytes | None = None) -> str:
        """The proof as a C2SP `tlog-proof@v1`, with a checkpoint of its size and root.

        Without one, a checkpoint is written that nobody signed, and other programs refuse. What
        has no place in that format is left out: `topic` and `partition`.
        """
        unsigned = checkpoint_text(f"{self.topic}/{self.partition}", self.size, self.root) + "\n"
        note = parse_checkpoint(checkpoint or unsigned)
        same = (note.size, note.root) == (self.size, self.root)
        need(same, "the checkpoint is of another size or root than the proof")
        extra = _base64((self.entry or self.leaf_hash) + self.salt)
        path = "".join(f"{_base64(node)}\n" for node in self.path)
        return f"{TLOG_PROOF}\nextra {extra}\nindex {self.index}\n{path}\n{note.note}"

    @classmethod
    def from_tlog_proof(cls, text: str | bytes) -> Proof:
        """Reads what `to_tlog_proof` wrote; raises `ProofError` on anything else."""
        fields = parse_tlog_proof(text)
        del fields["checkpoint"]
        return cls(**fields)._whole()

    def _whole(self) -> Proof:
        root_from_range((self.leaf_hash,), self.index, self.size, self.path)
        need((self.topic is None) == (self.partition is None), "a topic and no partition")
        return self


@dataclass(frozen=True, slots=True)
class RangeProof:
    """That records stand from `first` up to, not with, `stop` in the tree of `size` under `root`.

    One proof for all of them, of at most twice as many hashes as a proof of one.
    """

    first: int
    stop: int
    size: int
    path: tuple[bytes, ...]
    root: bytes
    topic: str | None = None
    partition: int | None = None

    def verify(self, records: Sequence[Any], root: bytes | None = None) -> bool:
        """Whether `check` passes. Give the `root`: without one, the proof's own is trusted."""
        return range_surely_holds(self, records, root) or _holds(self.check, records, root)

    def check(self, records: Sequence[Any], root: bytes | None = None) -> None:
        """As `Proof.check`, for all the records at once; a record's `salt` counts if it has one."""
        if not isinstance(records, Iterable):
            raise TypeError(f"records is a list of them, not {records!r:.60}")
        records = list(records)
        for record in records:
            _need_record(record)
        places = [record.offset for record in records]
        need(
            places == list(range(self.first, self.first + len(places))), "records in another order"
        )
        self.check_leaves([leaf_of(one, getattr(one, "salt", b"")) for one in records], root)

    def check_leaves(self, leaves: Hashes, root: bytes | None = None) -> None:
        """As `check`, for the hashes of the leaves: of a record that is gone no more is left."""
        _need_roots(root)
        check_range(self, leaves, root)

    def to_json(self) -> str:
        """The proof as a JSON text, for `from_json` and for `merkql.proof` as a program."""
        return _to_json("merkql-range/v1", self, bytes.hex)

    @classmethod
    def from_json(cls, text: str | bytes) -> RangeProof:
        """Reads what `to_json` wrote; raises `ProofError` on anything else. Checks no hash yet."""
        proof = cls(**parse_json(text, "merkql-range/v1"))
        check_int(proof.stop, "stop", proof.first + 1, proof.size)
        need((proof.topic is None) == (proof.partition is None), "a topic and no partition")
        return proof


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That the tree of `new_size` records begins with the tree of `old_size`, unchanged."""

    old_size: int
    new_size: int
    old_root: bytes
    new_root: bytes
    path: tuple[bytes, ...]

    def verify(self, old_root: bytes | None = None, new_root: bytes | None = None) -> bool:
        """Whether `check` passes. Give both roots: without them, the proof's own are trusted."""
        return _holds(self.check, old_root, new_root)

    def check(self, old_root: bytes | None = None, new_root: bytes | None = None) -> None:
        """As `verify`, raising `ProofError`. It shows as much as the given `old_root` is worth."""
        _need_roots(old_root, new_root)
        check_consistency(self, old_root, new_root)

    def to_json(self) -> str:
        """The proof as a JSON text, for `from_json`."""
        return _to_json("merkql-consistency/v1", self, bytes.hex)

    @classmethod
    def from_json(cls, text: str | bytes) -> ConsistencyProof:
        """Reads what `to_json` wrote; raises `ProofError` on anything else. Checks no hash yet."""
        proof = cls(**parse_json(text, "merkql-consistency/v1"))
        roots_from_consistency(proof.old_size, proof.new_size, proof.old_root, proof.path)
        return proof


@dataclass(frozen=True, slots=True)
class SavedRecord:
    """A record read back from JSON; `Proof.check` takes it as it takes a `merkql.Record`.

    `salt` is that of a record of an erasable topic, where the proof does not have it: a range's.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    salt: bytes = b""


def record_to_json(record: Any, salt: bytes = b"", *, indent: int | None = 2) -> str:
    """A record as a JSON text, key, value and header values in base64, to keep with its proof.

    With ``indent=None`` it is one line, and a file may have many of them.
    """
    fields = {name: getattr(record, name) for name in FORMS[RECORD].split() if name != "salt"}
    saved = SavedRecord(**fields, salt=salt or getattr(record, "salt", b""))
    return _to_json(RECORD, saved, _base64, indent)


def record_from_json(text: str | bytes) -> SavedRecord:
    """Reads what `record_to_json` wrote; raises `ProofError` on anything else."""
    record = SavedRecord(**parse_json(text, RECORD))
    need(record.topic is not None and record.partition is not None, "no topic, or no partition")
    leaf_of(record, record.salt)  # checks what it encodes
    return record


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """What a log signs to say that it has so many records, and this root over them."""
    return f"{origin}\n{size}\n{_base64(check_bytes(root, 'root', 32))}\n"


_OF_A_RECORD = ("offset", "timestamp_ms", "key", "value", "headers")


def _need_record(value: object) -> None:
    """Any object will do that has these; `check_leaf` is for a record that is gone."""
    if not all(hasattr(value, name) for name in _OF_A_RECORD):
        raise TypeError(f"a Record or SavedRecord is needed, not {value!r:.60}")


def _need_roots(*roots: object) -> None:
    """A root in hex would be told from the right one as a forgery is."""
    for root in roots:
        if root is not None and not isinstance(root, bytes):
            raise TypeError(f"a root is 32 bytes, not {root!r:.80}; of hex take bytes.fromhex(...)")


def _holds(check: Callable[..., None], *arguments: Any) -> bool:
    try:
        check(*arguments)
    except ProofError:
        return False
    return True


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _to_json(form: str, value: Any, text_of: Callable[[bytes], str], indent: int | None = 2) -> str:
    def plain(item: Any) -> Any:
        if isinstance(item, (tuple, list)):
            return [plain(part) for part in item]
        return text_of(item) if isinstance(item, bytes) else item

    fields = {name: plain(getattr(value, name)) for name in type(value).__slots__}
    if "salt" in fields:
        fields["salt"] = value.salt.hex()
    return json.dumps({"format": form} | fields, indent=indent) + "\n"
