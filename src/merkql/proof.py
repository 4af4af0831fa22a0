"""Checks merkql proofs with the standard library alone: copy this file out, or run it as a program.

    python proof.py PROOF.json RECORD.json --root HEX

Leaves are canonical encodings of records; the tree is that of RFC 6962 and RFC 9162. Makes no
proofs, opens no store, checks no signatures. Formats: docs/formats/merkle-log.md and proof.md.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from struct import pack
from typing import Any

RECORD_TAG = b"merkql-record/v1\n"
HASH_SIZE = 32
ENTRY_SIZE = 49
SIZE_MAX = 2**62  # leaves of a tree; bounds every loop over a size
PROOF_TEXT_MAX = 64 * 1024  # no proof comes near; a record may be of any size

Headers = Sequence[tuple[str, bytes | None]]


class ProofError(ValueError):
    """A proof does not hold, or is no proof at all: trust nothing it says."""


# From a record to its leaf --------------------------------------------------------------------


def record_digest(
    key: bytes | None, value: bytes | None, headers: Headers = (), salt: bytes = b""
) -> bytes:
    """The 32 bytes that stand for a record's content, whatever its size."""
    _check_bytes(salt, "salt", 0, 16)
    parts = [RECORD_TAG, bytes([len(salt)]), salt, _field(key, "key"), _field(value, "value")]
    parts.append(pack(">i", len(headers)))
    for name, content in headers:
        if type(name) is not str:
            raise ProofError("headers: a name is not text")
        utf8 = name.encode("utf-8", "surrogatepass")  # no record has surrogates: the digest differs
        parts += (_field(utf8, "header name"), _field(content, "header value"))
    return sha256(b"".join(parts)).digest()


def entry_bytes(offset: int, timestamp_ms: int, digest: bytes) -> bytes:
    """The log entry: a record's place and time, bound to the digest of its content."""
    _check_int(offset, "offset", 0, SIZE_MAX - 1)
    _check_int(timestamp_ms, "timestamp_ms", -(2**63), 2**63 - 1)
    return pack(">BQq", 1, offset, timestamp_ms) + _check_bytes(digest, "digest", HASH_SIZE)


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one leaf of the tree; the 0 keeps a leaf from ever passing for a node."""
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node of the tree."""
    return sha256(b"\1" + left + right).digest()


def _field(content: bytes | None, name: str) -> bytes:
    if content is None:
        return b"\xff\xff\xff\xff"
    if type(content) is not bytes or len(content) >= 2**31:
        raise ProofError(f"{name}: neither None nor bytes (of less than 2 GiB)")
    return pack(">i", len(content)) + content


# From a leaf to the root ----------------------------------------------------------------------


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root of the tree of `size` leaves in which `leaf` stands at `index` (RFC 9162 §2.1.3).

    Raises `ProofError` unless the path is exactly as long as that place in that tree needs.
    """
    _check_int(size, "size", 1, SIZE_MAX)
    _check_int(index, "index", 0, size - 1)
    inner = (index ^ (size - 1)).bit_length()  # levels below the node where leaf and end meet
    _check_path(path, inner + (index >> inner).bit_count())  # above it: whole trees to the left
    node = _check_bytes(leaf, "leaf hash", HASH_SIZE)
    for level, sibling in enumerate(path):
        if level >= inner or (index >> level) & 1:
            node = node_hash(sibling, node)
        else:
            node = node_hash(node, sibling)
    return node


def roots_from_consistency(
    old_size: int, new_size: int, old_root: bytes, path: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """The old root and the new one, both recomputed from the path (RFC 9162 §2.1.4).

    Both must be compared with roots that are trusted: either alone says nothing.
    """
    _check_int(new_size, "new size", 1, SIZE_MAX)
    _check_int(old_size, "old size", 1, new_size)
    _check_bytes(old_root, "old root", HASH_SIZE)
    if old_size == new_size:
        _check_path(path, 0)
        return old_root, old_root
    # Upwards from the last whole subtree of the old tree, which is the old root or else path[0].
    index = old_size - 1
    lowest = (old_size & -old_size).bit_length() - 1
    inner = (index ^ (new_size - 1)).bit_length()
    given = 0 if old_size == 1 << lowest else 1
    _check_path(path, given + inner - lowest + (index >> inner).bit_count())
    old = new = path[0] if given else old_root
    for level, sibling in enumerate(path[given:], lowest):
        if level >= inner or (index >> level) & 1:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    return old, new


# Checks: nothing is used before one of these has passed it --------------------------------------


def _check_int(value: Any, name: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:  # no bool, no float that is whole
        raise ProofError(f"{name}: not a whole number from {low} to {high}")
    return value


def _check_bytes(value: Any, name: str, *sizes: int) -> bytes:
    # The size matters: an empty leaf hash would equal an empty root in a tree of one.
    if type(value) is not bytes or len(value) not in sizes:
        raise ProofError(f"{name}: not {' or '.join(map(str, sizes))} bytes")
    return value


def _check_path(path: Any, count: int) -> None:
    if not isinstance(path, (tuple, list)) or len(path) != count:
        raise ProofError(f"path: not the {count} hashes that these sizes need")
    for node in path:
        if type(node) is not bytes or len(node) != HASH_SIZE:
            raise ProofError(f"path: holds something other than hashes of {HASH_SIZE} bytes")


def _check_root(given: bytes | None, own: bytes, name: str) -> None:
    _check_bytes(own, name, HASH_SIZE)
    if given is not None and _check_bytes(given, f"given {name}", HASH_SIZE) != own:
        raise ProofError(f"the proof is for another {name}")


def _check_place(topic: Any, partition: Any) -> None:
    if not isinstance(topic, str) or not re.fullmatch(r"[A-Za-z0-9._:-]{1,249}", topic):
        raise ProofError("topic: not the name of one")
    _check_int(partition, "partition", 0, 2**31 - 1)


# Proofs ---------------------------------------------------------------------------------------


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
        try:
            self.check(record, root)
        except ProofError:
            return False
        return True

    def check(self, record: Any, root: bytes | None = None) -> None:
        """Recomputes all from the record up to the root; raises `ProofError` at a mismatch.

        With a `root` obtained elsewhere, passing means that this very record, its key, value,
        headers and timestamp, stands at this offset of that log. Without one it means only that the
        proof agrees with itself, and anybody can make such a proof for any record. The root does
        not vouch for `size`: take both from one source.
        """
        digest = record_digest(record.key, record.value, record.headers, self.salt)
        entry = entry_bytes(record.offset, record.timestamp_ms, digest)
        if record.offset != self.index:
            raise ProofError("the record has another offset than the proof")
        if leaf_hash(entry) != self.leaf_hash:
            raise ProofError("the record is not the one that the proof was made for")
        self.check_leaf(root)

    def check_leaf(self, root: bytes | None = None) -> None:
        """As `check` for a record that is gone: its leaf is in the tree, its content not seen."""
        if self.entry is not None:
            place = pack(">BQ", 1, _check_int(self.index, "index", 0, SIZE_MAX))
            entry = _check_bytes(self.entry, "entry", ENTRY_SIZE)
            if entry[:9] != place or leaf_hash(entry) != self.leaf_hash:
                raise ProofError("the entry is not that of the leaf and its offset")
        _check_root(root, self.root, "root")
        if root_from_inclusion(self.leaf_hash, self.index, self.size, self.path) != self.root:
            raise ProofError("the path does not lead to the root")

    def to_json(self) -> str:
        """The proof as a JSON text, for `from_json` and for the program in this file."""
        return _to_json("merkql-proof/v1", self, bytes.hex)

    @classmethod
    def from_json(cls, text: str | bytes) -> Proof:
        """Reads what `to_json` wrote; raises `ProofError` on anything else. Checks no hash yet."""
        fields = _from_json(text, "merkql-proof/v1", cls, PROOF_TEXT_MAX)
        binary = ("leaf_hash", "path", "root", "salt", "entry")
        proof = cls(**fields | {name: _unhex(fields[name]) for name in binary})
        root_from_inclusion(proof.leaf_hash, proof.index, proof.size, proof.path)
        _check_bytes(proof.root, "root", HASH_SIZE)
        _check_bytes(proof.salt, "salt", 0, 16)
        if proof.entry is not None:
            _check_bytes(proof.entry, "entry", ENTRY_SIZE)
        if (proof.topic, proof.partition) != (None, None):
            _check_place(proof.topic, proof.partition)
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
        try:
            self.check(old_root, new_root)
        except ProofError:
            return False
        return True

    def check(self, old_root: bytes | None = None, new_root: bytes | None = None) -> None:
        """As `verify`, raising `ProofError`. It shows as much as the given `old_root` is worth."""
        _check_root(old_root, self.old_root, "old root")
        _check_root(new_root, self.new_root, "new root")
        old, new = roots_from_consistency(self.old_size, self.new_size, self.old_root, self.path)
        if old != self.old_root or new != self.new_root:
            raise ProofError("the path does not lead to both roots")

    def to_json(self) -> str:
        """The proof as a JSON text, for `from_json`."""
        return _to_json("merkql-consistency/v1", self, bytes.hex)

    @classmethod
    def from_json(cls, text: str | bytes) -> ConsistencyProof:
        """Reads what `to_json` wrote; raises `ProofError` on anything else. Checks no hash yet."""
        fields = _from_json(text, "merkql-consistency/v1", cls, PROOF_TEXT_MAX)
        binary = ("old_root", "new_root", "path")
        proof = cls(**fields | {name: _unhex(fields[name]) for name in binary})
        roots_from_consistency(proof.old_size, proof.new_size, proof.old_root, proof.path)
        _check_bytes(proof.new_root, "new root", HASH_SIZE)
        return proof


# Records kept for later -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SavedRecord:
    """A record read back from JSON; `Proof.check` takes it as it takes a `merkql.Record`."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def record_to_json(record: Any) -> str:
    """A record as a JSON text, key, value and header values in base64, to keep with its proof."""
    saved = SavedRecord(*(getattr(record, name) for name in SavedRecord.__slots__))
    return _to_json("merkql-saved-record/v1", saved, _base64)


def record_from_json(text: str | bytes) -> SavedRecord:
    """Reads what `record_to_json` wrote; raises `ProofError` on anything else."""
    fields = _from_json(text, "merkql-saved-record/v1", SavedRecord, None)
    pairs = fields["headers"]
    if not isinstance(pairs, list) or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        raise ProofError("headers: not a list of pairs")
    fields["headers"] = tuple((name, _unbase64(value)) for name, value in pairs)
    record = SavedRecord(**fields | {name: _unbase64(fields[name]) for name in ("key", "value")})
    _check_place(record.topic, record.partition)
    digest = record_digest(record.key, record.value, record.headers)  # checks what it encodes
    entry_bytes(record.offset, record.timestamp_ms, digest)
    return record


# JSON: one text a value, but for white space and the order of names -----------------------------


def _to_json(form: str, value: Any, text_of: Any) -> str:
    def plain(item: Any) -> Any:
        if isinstance(item, (tuple, list)):
            return [plain(part) for part in item]
        return text_of(item) if isinstance(item, bytes) else item

    fields = {name: plain(getattr(value, name)) for name in type(value).__slots__}
    return json.dumps({"format": form} | fields, indent=2) + "\n"


def _from_json(text: str | bytes, form: str, cls: Any, size_max: int | None) -> dict[str, Any]:
    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name appears twice")
        return dict(pairs)

    if size_max is not None and len(text) > size_max:
        raise ProofError(f"longer than {size_max} characters")
    try:
        plain = text if isinstance(text, str) else bytes(text).decode()
        fields = json.loads(plain, object_pairs_hook=members)
    except (ValueError, RecursionError) as error:
        raise ProofError(f"not JSON: {error}") from None
    if not isinstance(fields, dict) or fields.pop("format", None) != form:
        raise ProofError(f"not of the format {form}")
    if fields.keys() != set(cls.__slots__):
        raise ProofError(f"not the fields of the format {form}")
    return fields


def _unhex(text: Any) -> Any:
    """Bytes of hexadecimal text, a tuple of a list; anything else is left for checks to refuse."""
    if isinstance(text, list):
        return tuple(part if isinstance(part, list) else _unhex(part) for part in text)
    if isinstance(text, str) and re.fullmatch("([0-9a-f]{2})*", text):
        return bytes.fromhex(text)
    return text


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _unbase64(text: Any) -> bytes | None:
    try:
        content = None if text is None else base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        content = b""
    if content is not None and _base64(content) != text:  # stray bits at the end differ too
        raise ProofError("key, value or header: neither null nor base64")
    return content


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks a record against its proof and says so; 0 if it holds, 1 if not, 2 if misused."""
    parser = argparse.ArgumentParser(description="Check that a record is in a log.")
    parser.add_argument("proof", metavar="PROOF.json")
    parser.add_argument("record", metavar="RECORD.json")
    parser.add_argument("--root", metavar="HEX", type=bytes.fromhex, help="the root you trust")
    options = parser.parse_args(arguments)
    if options.root is not None and len(options.root) != HASH_SIZE:
        parser.error("a root is 64 hexadecimal digits")
    try:
        with open(options.proof, "rb") as proof_file, open(options.record, "rb") as record_file:
            texts = proof_file.read(), record_file.read()
    except (OSError, ValueError) as error:
        parser.exit(2, f"cannot read a file: {str(error)!a}\n")
    try:
        proof, record = Proof.from_json(texts[0]), record_from_json(texts[1])
        proof.check(record, options.root)
    except ProofError as error:
        print(f"NOT PROVED: {error}")
        return 1
    print(f"PROVED: record {proof.index} of the {proof.size} with root {proof.root.hex()}")
    if options.root is None:
        print("The root is the proof's own: give the one that you trust, with --root.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
