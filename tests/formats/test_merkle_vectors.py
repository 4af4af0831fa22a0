"""The tree against published numbers, and the pages merkle-log and proof against the code.

Rolling digests: draft-ietf-plants-merkle-tree-certs, appendix; each covers every valid input up to
130 leaves. Eight leaves: the known answers that Certificate Transparency's implementations share.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import merkql.proof
from merkql._core.merkle import Frontier, consistency_path, inclusion_path, prove, root_at
from merkql.proof import (
    entry_bytes,
    leaf_hash,
    record_digest,
    roots_from_consistency,
)
from merkql.proofs import ConsistencyProof, Proof, SavedRecord, record_to_json
from support.evidence import root_from_inclusion
from support.naive_tree import NaiveTree, is_subtree, leaf

PAGES = Path(__file__).parents[2] / "docs" / "formats"

EIGHT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
EIGHT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

ROLLING_SIZE = 130
ROLLING_LEAVES = [leaf(bytes([i])) for i in range(ROLLING_SIZE)]


class Log:
    """The tree of some leaf hashes, as merkql stores and reads it."""

    def __init__(self, leaf_hashes: list[bytes]) -> None:
        self.frontier = Frontier()
        self.levels: dict[int, bytes] = {}
        for level, first, hashes in self.frontier.append(b"".join(leaf_hashes)):
            assert first == 0
            self.levels[level] = hashes

    def read(self, requests: list[tuple[int, int, int]]) -> list[bytes]:
        return [
            self.levels[level][32 * first : 32 * (first + count)]
            for level, first, count in requests
        ]


def digest_of(lines: Iterator[str]) -> str:
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def line(what: str, hashes: list[bytes]) -> str:
    return " ".join([what, *(hashed.hex() for hashed in hashes)]) + "\n"


# Published numbers ------------------------------------------------------------------------------


def test_eight_leaves() -> None:
    log = Log([leaf_hash(data) for data in EIGHT_LEAVES])
    frontier = Frontier()
    for size, root in enumerate(EIGHT_ROOTS, 1):
        frontier.append(leaf_hash(EIGHT_LEAVES[size - 1]))
        assert frontier.root().hex() == root_at(size, log.read).hex() == root


@cache
def subtree_log(start: int, end: int) -> Log:
    return Log(ROLLING_LEAVES[start:end])


def subtrees() -> Iterator[tuple[int, int]]:
    for end in range(ROLLING_SIZE + 1):
        yield from ((start, end) for start in range(end + 1) if is_subtree(start, end))


def test_rolling_digest_of_roots() -> None:
    lines = (line(f"[{s}, {e})", [subtree_log(s, e).frontier.root()]) for s, e in subtrees())
    assert digest_of(lines) == "b82806ad4265bb151c1119c0f4db437bb4d1a1f887b3a7fba1cd4ebf552e3e81"


def test_rolling_digest_of_inclusion_proofs() -> None:
    """Every path is ours: a subtree's is that of a tree of its leaves alone."""
    lines = (
        line(f"{i} [{s}, {e})", inclusion_path(i - s, e - s, subtree_log(s, e).read))
        for s, e in subtrees()
        for i in range(s, e)
    )
    assert digest_of(lines) == "ac2a8f989e44d99e399db448050ff5f19757df53cfb716aa81015d3955d8163f"


def test_rolling_digest_of_consistency_proofs() -> None:
    """Rows that begin at 0 are consistency proofs and ours; the oracle makes the others."""
    oracle, log = NaiveTree(ROLLING_LEAVES), Log(ROLLING_LEAVES)

    def rows() -> Iterator[str]:
        for size in range(ROLLING_SIZE + 1):
            for end in range(size + 1):
                for start in range(end + 1):
                    if is_subtree(start, end):
                        ours = start == 0 < end
                        yield line(
                            f"[{start}, {end}) {size}",
                            consistency_path(end, size, log.read)
                            if ours
                            else oracle.consistency(start, end, size),
                        )

    assert digest_of(rows()) == "10fa99b37bf9bf9ffa26b412fbd98bd75363256d0b75d61bc4538b9c9c5a0a74"


def test_a_thousand_leaves_as_another_implementation_stores_them() -> None:
    """Roots of whole subtrees in the post-order of Go's tlog; its digest covers all 1,994."""
    leaves = [leaf(bytes([i & 255, i >> 8])) for i in range(1000)]
    log = Log(leaves)
    assert root_at(1000, log.read).hex() == (
        "457ae06fcc47779e58e3c15b7e8b49c026d5f362b1db62d97c46e604602fc254"
    )
    stored = hashlib.sha256()
    count = 0
    for index in range(1000):
        level = 0
        while (index + 1) % (1 << level) == 0:
            first = index + 1 - (1 << level)
            stored.update(Log(leaves[first : index + 1]).frontier.root())
            count += 1
            level += 1
    assert count == 1994
    assert stored.hexdigest() == "1455363269bc333e306ca1d4cd62ebfae7f0b819fc3847faec6ffe8ff5a1f9e7"


def test_end_to_end_vector() -> None:
    """Accepted, as a signed tlog-proof, by Go's note and tlog and by two verifiers in Python."""
    leaves = [leaf(b"record-%d" % i) for i in range(13)]
    log = Log(leaves)
    roots = {size: root_at(size, log.read) for size in range(1, 14)}
    assert roots[1].hex().startswith("45c7bdcd")
    assert roots[1].hex().endswith("724ee")
    assert roots[2].hex().startswith("d075b56a")
    assert roots[2].hex().endswith("855fa")
    assert roots[7].hex() == "ac49bffc2e4b5dc0e6a0fc76b80860d2c23955b84d453db541134372e2c5a91f"
    assert roots[8].hex() == "cec12395a3f3d7cc4d19a469f03b41f0a15b3a3167728474ab07bd4955a088b3"
    assert base64.b64encode(roots[13]) == b"Mi7CJiZLruMIePTlzHPx4mYt0B1o8dZ+0VjPECnCnOY="
    path = [
        base64.b64decode(text)
        for text in (
            "V2v+WjPnQrY/fAMS1q4OZixlJcviOrvLcNKcBTy2GiQ=",
            "2TenwlpMTN7aVGPUmA+4iOkC9do+mRkTPnzy1P7LDRU=",
            "CJ8EGC6Ny6VK98Od0cfQfPb/GhW8tXhLI2tOnoUXjfo=",
            "p0RsFmp3r1dazmCbv9gULdEIu/+HqCUgpVtosOl0RWc=",
        )
    ]
    assert prove(7, 13, log.read) == (leaves[7], path, roots[13])
    assert root_from_inclusion(leaves[7], 7, 13, path) == roots[13]
    assert consistency_path(8, 13, log.read) == [path[3]]
    from_seven = consistency_path(7, 13, log.read)
    assert [hashed.hex()[:8] for hashed in from_seven] == [
        "576bfe5a",
        "baf76ce7",
        "d937a7c2",
        "089f0418",
        "a7446c16",
    ]
    assert roots_from_consistency(7, 13, roots[7], from_seven) == (roots[7], roots[13])


@pytest.mark.parametrize(("size", "widths"), [(70_000, [70_000, 273, 1]), (256, [256, 1])])
def test_every_second_stored_level_is_a_level_of_tiles(size: int, widths: list[int]) -> None:
    """c2sp.org/tlog-tiles: hash i of tile (L, N) is the root of 256 ** L leaves."""
    leaves = [hashlib.sha256(b"%d" % i).digest() for i in range(size)]
    log, oracle = Log(leaves), NaiveTree(leaves)
    for tile_level, width in enumerate(widths):
        stored = log.levels[8 * tile_level]
        assert len(stored) == 32 * width
        span = 256**tile_level
        for i in {0, 1, 255, 256, width // 2, width - 1} & set(range(width)):
            tile, place = divmod(i, 256)
            found = stored[8192 * tile :][32 * place : 32 * place + 32]
            assert found == oracle.root(i * span, (i + 1) * span)


# The pages --------------------------------------------------------------------------------------


def example(page: str, name: str) -> str:
    text = (PAGES / page).read_text(encoding="utf-8")
    found = re.findall(rf"^```\w+ {re.escape(name)}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(found) == 1, f"{page} has {len(found)} examples named {name}"
    return str(found[0])


def dumped(page: str, name: str) -> bytes:
    """The bytes of a hexdump, its positions and its text column checked."""
    data = b""
    for row in example(page, name).splitlines():
        position, rest = row[:8], row[8:]
        digits, _, text = rest.partition("|")
        assert int(position, 16) == len(data)
        part = bytes.fromhex(digits)
        assert text.removesuffix("|") == "".join(
            chr(byte) if 32 <= byte < 127 else "." for byte in part
        )
        data += part
    return data


RECORDS = [
    SavedRecord(
        "orders",
        0,
        0,
        1767225600000,
        b"order-42",
        b'{"item":"widget"}',
        (("trace", b"7f"),),
    ),
    SavedRecord("orders", 0, 1, 1767225600005, None, b"", ()),
    SavedRecord("orders", 0, 2, 1767225600005, b"order-42", None, (("trace", None),)),
]
ENTRIES = [
    entry_bytes(
        record.offset,
        record.timestamp_ms,
        record_digest(record.key, record.value, record.headers),
    )
    for record in RECORDS
]
LOG = Log([leaf_hash(entry) for entry in ENTRIES])


def test_page_merkle_log() -> None:
    page = "merkle-log.md"
    first = RECORDS[0]
    digest = record_digest(first.key, first.value, first.headers)
    assert hashlib.sha256(dumped(page, "digest-input")).digest() == digest
    assert dumped(page, "entry") == ENTRIES[0]
    assert dumped(page, "h00") == LOG.levels[0]
    assert dumped(page, "root") == LOG.frontier.root()


def test_page_proof() -> None:
    page = "proof.md"
    leaf_hashed, path, root = prove(1, 3, LOG.read)
    proof = Proof(1, 3, leaf_hashed, tuple(path), root, ENTRIES[1], topic="orders", partition=0)
    assert example(page, "proof") == proof.to_json()
    assert example(page, "record") == record_to_json(RECORDS[1])
    growth = ConsistencyProof(
        2, 3, root_at(2, LOG.read), root, tuple(consistency_path(2, 3, LOG.read))
    )
    assert example(page, "consistency") == growth.to_json()
    growth.check()


def test_page_proof_names_every_field() -> None:
    text = (PAGES / "proof.md").read_text(encoding="utf-8")
    for name in ("proof", "record", "consistency"):
        for field in json.loads(example("proof.md", name)):
            assert re.search(rf"^\|[^|]*`{field}`[^|]*\|", text, re.MULTILINE), field


def test_the_verdict_on_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("proof", "record"):
        (tmp_path / f"{name}.json").write_text(example("proof.md", name))
    text = (PAGES / "proof.md").read_text(encoding="utf-8")
    command, verdict = re.findall(r"^\$ python proof.py (.*)\n((?:\w.*\n)+)", text, re.MULTILINE)[0]
    arguments = [str(tmp_path / part) if ".json" in part else part for part in command.split()]
    assert merkql.proof.main(arguments) == 0
    assert capsys.readouterr().out == verdict
