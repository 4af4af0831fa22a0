"""Checks merkql's proofs with the standard library alone: copy this file out, or run it.

    python proof.py range.json records.jsonl entries.txt checkpoint.txt --key KEY

Signatures alone need a package, `cryptography`. Formats: docs/formats/proof.md and its links.
"""

from __future__ import annotations

import base64
import json
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from struct import pack
from types import SimpleNamespace
from typing import Any, NamedTuple

SIZE_MAX = 2**62  # leaves of a tree; bounds every loop over a size


class ProofError(ValueError):
    """A proof does not hold, or is no proof at all: trust nothing it says."""


def need(condition: object, otherwise: str) -> None:
    """Raises `ProofError`, saying what is otherwise, unless the condition holds."""
    if not condition:
        raise ProofError(otherwise)


def check_int(value: Any, name: str, low: int, high: int) -> Any:
    """A whole number from low to high, and no bool or float that might pass for one."""
    if type(value) is not int or not low <= value <= high:
        raise ProofError(f"{name}: not a whole number from {low} to {high}")
    return value


def check_bytes(value: Any, name: str, *sizes: int) -> Any:
    """Bytes of one of the sizes: an empty leaf hash would equal an empty root in a tree of one."""
    if type(value) is not bytes or len(value) not in sizes:
        raise ProofError(f"{name}: not {' or '.join(map(str, sizes))} bytes")
    return value


def check_root(given: bytes | None, own: bytes, computed: bytes, name: str = "root") -> None:
    """A proof's own root, against the one that is trusted and the one that its path leads to."""
    need(given is None or check_bytes(given, name, 32) == own, f"the proof is for another {name}")
    need(computed == check_bytes(own, name, 32), f"the path does not lead to the {name}")


def record_digest(key: Any, value: Any, headers: Any = (), salt: bytes = b"") -> bytes:
    """The 32 bytes that stand for a record's content, whatever its size."""

    def field(content: Any, name: str) -> bytes:
        fits = content is None or (type(content) is bytes and len(content) < 2**31)
        need(fits, f"{name}: neither None nor bytes (of less than 2 GiB)")
        return b"\xff\xff\xff\xff" if content is None else pack(">i", len(content)) + content

    parts = [b"merkql-record/v1\n", bytes([len(check_bytes(salt, "salt", 0, 16))]), salt]
    parts += (field(key, "key"), field(value, "value"), pack(">i", len(headers)))
    for name, content in headers:
        need(type(name) is str, "headers: a name is not text")
        utf8 = name.encode("utf-8", "surrogatepass")  # no record has surrogates: the digest differs
        parts += (field(utf8, "header name"), field(content, "header value"))
    return sha256(b"".join(parts)).digest()


def entry_bytes(offset: int, timestamp_ms: int, digest: bytes) -> bytes:
    """The log entry, 49 bytes: a record's place and time, bound to the digest of its content."""
    check_int(offset, "offset", 0, SIZE_MAX - 1)
    check_int(timestamp_ms, "timestamp_ms", -(2**63), 2**63 - 1)
    return pack(">BQq", 1, offset, timestamp_ms) + bytes(check_bytes(digest, "digest", 32))


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one leaf of the tree; the 0 keeps a leaf from ever passing for a node."""
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node of the tree."""
    return sha256(b"\1" + left + right).digest()


def leaf_of(record: Any, salt: bytes) -> bytes:
    """The leaf of an object with a record's attributes; the salt is empty or the record's own."""
    digest = record_digest(record.key, record.value, record.headers, salt)
    return leaf_hash(entry_bytes(record.offset, record.timestamp_ms, digest))


# A tree is a node over two, the left one of the largest power of two of leaves below their number
# (RFC 9162 §2.1). A path has the roots that cannot be computed, in the order they are needed in.
def _follow(path: Any, compute: Callable[[Any], Any]) -> Any:
    need(isinstance(path, (tuple, list)), "path: not a list of hashes")
    hashes = iter([check_bytes(node, "path: one of it", 32) for node in path])
    try:
        computed = compute(hashes)
    except StopIteration:
        raise ProofError("path: fewer hashes than these sizes need") from None
    need(next(hashes, None) is None, "path: more hashes than these sizes need")
    return computed


def root_from_range(leaves: Sequence[bytes], first: int, size: int, path: Any) -> bytes:
    """The root of the tree of `size` leaves in which `leaves` stand from index `first` on."""
    check_int(first, "index", 0, check_int(size, "size", 1, SIZE_MAX) - 1)
    stop = check_int(first + len(leaves), "end of the range", first + 1, size)

    def root_of(low: int, high: int, path: Iterator[bytes]) -> bytes:  # some leaves are in between
        if high - low == 1:
            return bytes(check_bytes(leaves[low - first], "leaf hash", 32))
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        left = root_of(low, middle, path) if first < middle else b""
        right = root_of(middle, high, path) if stop > middle else next(path)
        return node_hash(left or next(path), right)

    return bytes(_follow(path, lambda path: root_of(0, size, path)))


def roots_from_consistency(old_size: int, new_size: int, old_root: bytes, path: Any) -> Any:
    """The old root and the new one (RFC 9162 §2.1.4): compare both, either alone says nothing."""
    check_int(old_size, "old size", 1, check_int(new_size, "new size", 1, SIZE_MAX))
    check_bytes(old_root, "old root", 32)

    def roots_of(low: int, high: int, path: Iterator[bytes]) -> tuple[bytes, bytes]:
        if high == old_size:  # a part of both trees, or the whole old one
            return (next(path),) * 2 if low else (old_root, old_root)
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        if old_size <= middle:
            old, new = roots_of(low, middle, path)
            return old, node_hash(new, next(path))
        old, new = roots_of(middle, high, path)
        left = next(path)
        return node_hash(left, old), node_hash(left, new)

    return _follow(path, lambda path: roots_of(0, new_size, path))


def check_inclusion(proof: Any, record: Any = None, root: bytes | None = None) -> None:
    """Checks a record, or where none is given the leaf alone, up to the root."""
    if record is not None:
        need(record.offset == proof.index, "the record has another offset than the proof")
        same = leaf_of(record, proof.salt) == proof.leaf_hash
        need(same, "the record is not the one that the proof was made for")
    computed = root_from_range((proof.leaf_hash,), proof.index, proof.size, proof.path)
    if proof.entry is not None:
        own = check_bytes(proof.entry, "entry", 49)[:9] == pack(">BQ", 1, proof.index)
        need(own and leaf_hash(proof.entry) == proof.leaf_hash, "the entry is not that of the leaf")
    check_root(root, proof.root, computed)


def check_range(proof: Any, leaves: Sequence[bytes], root: bytes | None = None) -> None:
    """Checks the leaves of all the records from `first` up to, not with, `stop`."""
    same = type(proof.stop) is type(proof.first) is int and proof.stop - proof.first == len(leaves)
    need(same, f"not all of records {proof.first} to {proof.stop}, but {len(leaves)}")
    check_root(root, proof.root, root_from_range(leaves, proof.first, proof.size, proof.path))


def check_consistency(proof: Any, old: bytes | None = None, new: bytes | None = None) -> None:
    """Checks that the log only grew from the old root to the new one."""
    computed = roots_from_consistency(proof.old_size, proof.new_size, proof.old_root, proof.path)
    check_root(old, proof.old_root, computed[0], "old root")
    check_root(new, proof.new_root, computed[1], "new root")


# Texts: one spelling a value, but for the white space and the order of names in JSON ------------
TLOG_PROOF, RECORD = "c2sp.org/tlog-proof@v1", "merkql-saved-record/v1"
FORMS = {
    "merkql-proof/v1": "index size leaf_hash path root entry salt topic partition",
    "merkql-range/v1": "first stop size path root topic partition",
    "merkql-consistency/v1": "old_size new_size old_root new_root path",
    RECORD: "topic partition offset timestamp_ms key value headers salt",
}


def _matched(form: str, text: Any, what: str, size_max: int = 1 << 20) -> Any:
    text = text.decode(errors="surrogateescape") if isinstance(text, bytes) else text
    fits = type(text) is str and len(text) <= size_max and not re.search("[\ud800-\udfff]", text)
    need(fits, "too long, or no text")
    need(found := re.fullmatch(form, text), f"not {what}")
    return found


def _unbase64(text: Any) -> bytes:
    form = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
    content = base64.b64decode(_matched(form, text, "base64", 2**31)[0])
    need(base64.b64encode(content).decode() == text, "base64 with stray bits")
    return content


def parse_json(text: str | bytes, form: str) -> dict[str, Any]:
    """The fields of a proof or a record in JSON; raises `ProofError` on what has not that form."""

    def field(name: str, item: Any) -> Any:
        if item is None and name in ("entry", "key", "value", "topic", "partition"):
            return None
        if name in ("headers", "path"):
            need(type(item) is list, f"{name}: not a list")
            pairs = item if name == "headers" else ()
            headers = tuple((header, field("value", value)) for header, value in pairs)
            return headers if name == "headers" else tuple(field("root", node) for node in item)
        if name in ("key", "value"):
            return _unbase64(item)
        if name == "topic":
            return _matched("[A-Za-z0-9._:-]{1,249}", item, "the name of a topic")[0]
        if name in ("entry", "salt") or name.endswith(("hash", "root")):
            content = bytes.fromhex(_matched("[0-9a-f]*", item, "hexadecimal in lower case")[0])
            return check_bytes(content, name, *{"entry": (49,), "salt": (0, 16)}.get(name, (32,)))
        low, high = (-(2**63), 2**63 - 1) if name == "timestamp_ms" else (0, SIZE_MAX)
        return check_int(item, name, low, 2**31 - 1 if name == "partition" else high)

    try:
        plain = _matched("(?s).*", text, "text", 2**31 if form == RECORD else 1 << 20)[0]
        # Objects become tuples, and no list passes for one; a long number, or -0, stays a text.
        hooks: Any = {"parse_int": lambda n: n if len(n) > 20 or n == "-0" else int(n)}
        fields = dict(pairs := json.loads(plain, object_pairs_hook=tuple, **hooks))
        need(type(pairs) is tuple and len(fields) == len(pairs), "a name appears twice")
        same = fields.pop("format") == form and fields.keys() == set(FORMS[form].split())
        need(same, "it is of another, or has other fields")
        return {name: field(name, item) for name, item in fields.items()}
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ProofError(f"not of the format {form}: {error}") from None


def parse_tlog_proof(text: str | bytes) -> dict[str, Any]:
    """The fields of an inclusion proof in C2SP's `tlog-proof@v1`, and its `checkpoint`."""
    form = "\nextra (.+)\nindex (0|[1-9][0-9]{0,18})\n((?:.{44}\n)*)\n((?s:.+))"
    parts = _matched(TLOG_PROOF + form, text, "a tlog-proof of merkql's")
    extra, note, path = _unbase64(parts[1]), parse_checkpoint(parts[4]), parts[3].split("\n")[:-1]
    # The entry, or the leaf hash of a record that is gone; then the salt, if there is one.
    check_bytes(extra, "extra", 32, 48, 49, 65)
    entry, salt = (extra[:49], extra[49:]) if len(extra) % 16 else (None, extra[32:])
    leaf, hashes = leaf_hash(entry) if entry else extra[:32], tuple(map(_unbase64, path))
    fields = {"index": int(parts[2]), "leaf_hash": leaf, "path": hashes, "entry": entry}
    return fields | {"salt": salt, "size": note.size, "root": note.root, "checkpoint": note}


class Checkpoint(NamedTuple):
    """What a signed note says of a log: so many records, under this root. Signatures unchecked."""

    origin: str
    size: int
    root: bytes
    note: str

    def signed_by(self, key: str) -> int | None:
        """When a witness with this key, `name+id+base64`, signed: in seconds since 1970, UTC.

        0 for a log's key, None if it has not signed; `ProofError` if a signature is not its own.
        """
        form, what = r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})", f"an Ed25519 key: {key!a}"
        name, hexadecimal, encoded = _matched(form, key, what).groups()
        public, seconds = base64.b64decode(encoded), None
        # A log signs for each of its partitions under the origin, which begins with the key's name.
        own = self.origin if public[0] == 1 and self.origin.startswith(f"{name}/") else name
        ids = {one: sha256(f"{one}\n".encode() + public).digest()[:4] for one in (name, own)}
        need(ids[name].hex() == hexadecimal and public[0] in (1, 4), f"not {what}")
        text, signatures = self.note.rsplit("\n\n", 1)
        for _, signer, blob in (line.split(" ") for line in signatures.split("\n")[:-1]):
            signed, cut = _unbase64(blob), 4 if public[0] == 1 else 12
            if ids.get(signer) == signed[:4]:
                seconds = int.from_bytes(signed[4:cut], "big")
                head = f"cosignature/v1\ntime {seconds}\n" if cut == 12 else ""
                _check_signature(public[1:], signed[cut:], f"{head}{text}\n".encode(), name)
        return seconds


def _check_signature(public: bytes, signature: bytes, message: bytes, name: str) -> None:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except ImportError:
        raise ProofError("signatures cannot be checked without the package cryptography") from None
    except Exception:  # InvalidSignature, or a key or a signature that cannot be one
        raise ProofError(f"the signature of {name} is not that of its key") from None


def parse_checkpoint(note: str | bytes) -> Checkpoint:
    """Reads a checkpoint with any signatures; raises `ProofError` on anything else."""
    line, signature = "[^\0-\x1f]+\n", "\u2014 [^\\s+\0-\x1f]+ [^\\s]+\n"
    form = f"({line})(0|[1-9][0-9]{{0,18}})\n({line})(?:{line})*\n((?:{signature}){{0,100}})"
    parts = _matched(form, note, "a checkpoint")
    for signed in parts[4].split("\n")[:-1]:
        _unbase64(signed.split(" ")[2])
    size, root = check_int(int(parts[2]), "size", 0, SIZE_MAX), _unbase64(parts[3][:-1])
    return Checkpoint(parts[1][:-1], size, check_bytes(root, "root", 32), parts[0])


def _read(data: bytes) -> list[Any]:
    """What is in a file: a proof, records, a checkpoint; the leaf hashes of a file of entries."""
    if data.startswith(TLOG_PROOF.encode()):
        return [proof := SimpleNamespace(**parse_tlog_proof(data)), proof.checkpoint]
    if re.fullmatch(b"([0-9a-f]{64}\n|[0-9a-f]{98}\n)+", data):
        lines = map(bytes.fromhex, data.decode().split())
        return [[one if len(one) == 32 else leaf_hash(one) for one in lines]]
    form = re.search(rb'"format":\s*"([a-z/1-]+)"', data)
    if form is None or form[1].decode() not in FORMS:
        return [parse_checkpoint(data)]
    texts = data.splitlines() if data.partition(b"\n")[0].endswith(b"}") else [data]
    return [SimpleNamespace(**parse_json(text, form[1].decode())) for text in texts]


def _signers(note: Checkpoint, group: str) -> list[str]:
    """Who signed, and when, of one key, or of a group of which some have to: "2 KEY KEY KEY"."""
    count, *keys = group.split(" ") if " " in group else ("1", group)
    names = {key: key.split("+")[0] for key in keys}
    need(len({key.split("+", 2)[-1] for key in keys}) == len(keys), "a key is given twice")
    wanted = int(_matched("[1-9][0-9]{0,3}", count, f"a number and keys: {group!a}")[0])
    need(wanted <= len(names), f"{wanted} of {len(names)} keys cannot be asked for")
    times = [(key, at) for key in names if (at := note.signed_by(key)) is not None]
    some = f"{wanted} of " if len(names) > 1 else ""
    need(len(times) >= wanted, f"the checkpoint is not signed by {some}{', '.join(names.values())}")
    form, last = " at %Y-%m-%dT%H:%M:%SZ", 253402300799  # the end of the year 9999
    utc = {key: time.strftime(form, time.gmtime(min(at, last))) if at else "" for key, at in times}
    return [names[key] + at for key, at in utc.items()]


def judge(files: Sequence[bytes], roots: Sequence[bytes], keys: Sequence[str]) -> dict[str, Any]:
    """What files prove and what they do not, in words; `ProofError` if anything does not hold.

    Each checkpoint needs all `keys`; each proof one of the `roots`, if given, or a root so signed.
    """
    found = [item for data in files for item in _read(data)]
    notes = [item for item in found if isinstance(item, Checkpoint)]
    leaves = [leaf for item in found if isinstance(item, list) for leaf in item]
    saved = [item for item in found if hasattr(item, "offset")]
    need(len(records := {r.offset: r for r in saved}) == len(saved), "two records of one offset")
    proofs = [item for item in found if hasattr(item, "path")]
    need(notes or (proofs and not keys), "no proof, or no checkpoint to be signed, is in the files")
    trusted = {*roots, *(note.root for note in notes if keys)}
    proved, missing, seen = [], [], False
    for proof in proofs:
        if hasattr(proof, "old_size"):
            check_consistency(proof)
            stated = {proof.old_size: proof.old_root, proof.new_size: proof.new_root}
            what = f"the log of {proof.new_size} records began as that of {proof.old_size}"
        else:
            first = proof.index if (one := hasattr(proof, "index")) else proof.first
            stop = first + 1 if one else proof.stop
            given = [records.pop(at) for at in sorted(records) if first <= at < stop]
            if one:
                check_inclusion(proof, *given)
            else:
                own = {record.offset: leaf_of(record, record.salt) for record in given}
                check_range(proof, all_of := leaves or list(own.values()))
                same = all(all_of[offset - first] == leaf for offset, leaf in own.items())
                need(same, "a record is not the one that the proof was made for")
            stated, absent = {proof.size: proof.root}, stop - first - len(given)
            missing += [f"what {absent} of these records say: it was not given"] * (absent > 0)
            what = f"record {first}" if one else f"records {first} to {stop - 1}"
            what += f" of the {proof.size} with root {proof.root.hex()}"
        need(not trusted or trusted.issuperset(stated.values()), "the proof is for another root")
        same = all((n.size == at) == (n.root == root) for at, root in stated.items() for n in notes)
        need(same, "the checkpoint is of another size or root than the proof")
        proved.append(what)
    need(not records, f"record {min(records, default=0)} is in none of the proofs")
    for note in notes:
        signed = [one for group in keys for one in _signers(note, group)]
        seen |= any(" at " in one for one in signed)
        by = f"signed by {' and '.join(signed)}" if signed else "by whom, was not checked"
        proved.append(f"{note.origin!a} has {note.size} records, root {note.root.hex()}: {by}")
    for place in sorted({f"/{one.topic}/{one.partition}" for one in saved}):
        if notes and not any(f"/{note.origin}".endswith(place) for note in notes):
            missing.append(f"that records are of {place[1:]}: no checkpoint here is")
    missing += ["how many records, and of what topic: only a checkpoint says that"] * (not notes)
    missing += ["whose root it is: the proof's own; give a --root or a --key"] * (not trusted)
    missing += ["that others were shown the same log: no witness's key was given"] * (not seen)
    return {"proved": proved, "not_shown": missing}


def main(arguments: Sequence[str] | None = None) -> int:
    """Says what files prove: 0 if all of it holds, 1 if anything does not, 2 if misused."""
    import argparse  # here alone: the library has no use for it

    parser = argparse.ArgumentParser(description="Check that records are in a log.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="proofs, records, checkpoints")
    parser.add_argument("--root", metavar="HEX", action="append", default=[], type=bytes.fromhex)
    parser.add_argument("--key", action="append", default=[], help='or "2 KEY KEY KEY", any two')
    parser.add_argument("--json", action="store_true", help="the verdict as JSON")
    options = parser.parse_args(arguments)
    try:
        files = [pathlib.Path(name).read_bytes() for name in options.files]
        verdict = {"holds": True, **judge(files, options.root, options.key)}
    except ProofError as error:
        verdict = {"holds": False, "reason": str(error)}
    except (OSError, ValueError) as error:
        parser.exit(2, f"cannot read a file: {str(error)!a}\n")
    lines = [f"PROVED: {what}" for what in verdict.get("proved", ())]
    lines += [f"NOT SHOWN: {what}" for what in verdict.get("not_shown", ())]
    lines += [f"NOT PROVED: {verdict['reason']}"] if "reason" in verdict else []
    print(json.dumps(verdict, indent=2) if options.json else "\n".join(lines))
    return 0 if verdict["holds"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
