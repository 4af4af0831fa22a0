"""Evidence to be judged: a log's, signed with keys whose seeds are known, and damaged copies."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
from collections.abc import Iterator, Mapping, Sequence

from merkql import bundle
from merkql.proof import root_from_range
from merkql.proofs import ConsistencyProof, Proof, RangeProof, SavedRecord, record_to_json
from support.naive_tree import NaiveTree, leaf

ORIGIN = "log.example/orders/2"
WITNESS = "witness.example/w1"
TIME = 1767225600
SIZE = 13


def record_at(offset: int) -> SavedRecord:
    return SavedRecord(
        topic="orders",
        partition=2,
        offset=offset,
        timestamp_ms=1_700_000_000_000 + offset,
        key=b"key-%d" % offset if offset % 2 else None,
        value=b"value-%d" % offset if offset % 3 else b"",
        headers=(("tr\u00e4ce", b"\xff\x00"), ("null", None)) if offset % 4 else (),
        salt=bytes(range(16)) if offset == 8 else b"",
    )


def entry_of(record: SavedRecord) -> bytes:
    """The entry of a record as docs/formats/merkle-log.md has it: by hand, as an oracle."""

    def field(content: bytes | None) -> bytes:
        return b"\xff" * 4 if content is None else struct.pack(">i", len(content)) + content

    encoded = b"merkql-record/v1\n" + bytes([len(record.salt)]) + record.salt
    encoded += field(record.key) + field(record.value) + struct.pack(">i", len(record.headers))
    for name, value in record.headers:
        encoded += field(name.encode()) + field(value)
    digest = hashlib.sha256(encoded).digest()
    return b"\x01" + struct.pack(">Qq", record.offset, record.timestamp_ms) + digest


RECORDS = [record_at(offset) for offset in range(SIZE)]
ENTRIES = [entry_of(record) for record in RECORDS]
LEAVES = [leaf(entry) for entry in ENTRIES]
TREE = NaiveTree(LEAVES)
ROOT = TREE.root(0, SIZE)
PROOF = Proof(6, SIZE, LEAVES[6], tuple(TREE.inclusion(6, 0, SIZE)), ROOT, ENTRIES[6])
GROWTH = ConsistencyProof(7, SIZE, TREE.root(0, 7), ROOT, tuple(TREE.consistency(0, 7, SIZE)))


def range_proof() -> RangeProof:
    """Of records 5 to 9: beside them are 4, 0 to 3, 10 and 11, and 12."""
    beside = (LEAVES[4], TREE.root(0, 4), TREE.root(10, 12), LEAVES[12])
    return RangeProof(5, 10, SIZE, beside, ROOT, "orders", 2)


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that the inclusion proof of one leaf leads to: a range of one."""
    return root_from_range((leaf,), index, size, path)


def _key_id(name: str, algorithm: int, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:4]


class Signer:
    """An Ed25519 key, as a log and as a witness use it; the notes are put together by hand."""

    def __init__(self, name: str, algorithm: int, seed: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.name, self.algorithm = name, algorithm
        self.public = self._private.public_key().public_bytes_raw()
        self.id = _key_id(name, algorithm, self.public)

    @property
    def key(self) -> str:
        encoded = base64.b64encode(bytes([self.algorithm]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"

    def line(self, text: str) -> str:
        message, stamp = text.encode(), b""
        if self.algorithm == 4:
            message, stamp = (
                f"cosignature/v1\ntime {TIME}\n{text}".encode(),
                struct.pack(">Q", TIME),
            )
        blob = base64.b64encode(self.id + stamp + self._private.sign(message)).decode()
        return f"\u2014 {self.name} {blob}\n"


def signers() -> tuple[Signer, Signer]:
    """The log's, and a witness's."""
    return Signer(ORIGIN, 1, bytes(range(32))), Signer(WITNESS, 4, bytes(range(32, 64)))


def note(size: int = SIZE, root: bytes = ROOT) -> str:
    text = f"{ORIGIN}\n{size}\n{base64.b64encode(root).decode()}\n"
    return text + "\n" + "".join(signer.line(text) for signer in signers())


def bundle_files() -> list[bytes]:
    """What an evidence bundle has: records 5 to 9, of which 7 is gone."""
    records = "".join(record_to_json(RECORDS[at], indent=None) for at in (5, 6, 8, 9))
    entries = "".join(
        f"{LEAVES[at].hex() if at == 7 else ENTRIES[at].hex()}\n" for at in range(5, 10)
    )
    return [range_proof().to_json().encode(), records.encode(), entries.encode(), note().encode()]


def flipped(data: bytes) -> Iterator[bytes]:
    """The data with each of its bits flipped in turn."""
    for bit in range(8 * len(data)):
        copy = bytearray(data)
        copy[bit // 8] ^= 1 << bit % 8
        yield bytes(copy)


def packed(files: Mapping[str, bytes]) -> bytes:
    """The archive of these members."""
    target = io.BytesIO()
    bundle.write(target, ((name, [content]) for name, content in files.items()))
    return target.getvalue()
