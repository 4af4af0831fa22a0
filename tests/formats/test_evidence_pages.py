"""The pages tlog-proof, range-proof and evidence: their examples are what the code writes."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from pathlib import Path

import pytest
from tests.formats.test_merkle_vectors import ENTRIES, LOG, RECORDS, example

import merkql.proof
from merkql import bundle
from merkql._core.frontier import Frontier
from merkql._core.merkle import inclusion_path
from merkql.proof import judge, parse_checkpoint
from merkql.proofs import Proof, RangeProof, checkpoint_text, record_to_json
from merkql.storage.evidence import range_path
from support.evidence import Signer, packed

PAGES = Path(__file__).parents[2] / "docs" / "formats"
ORIGIN = "example.org/events/orders/0"
KEY = Signer(ORIGIN, 1, bytes(range(32)))
WITNESS = Signer("witness.example/w1", 4, bytes(range(32, 64)))


def examples() -> dict[tuple[str, str], str]:
    """Page and name of each example, and what has to stand there."""
    frontier: Frontier = LOG.frontier
    paths = [inclusion_path(index, 3, LOG.read) for index in range(3)]
    leaves = [merkql.proof.leaf_hash(entry) for entry in ENTRIES]
    root = frontier.root()
    text = checkpoint_text(ORIGIN, 3, root)
    note = f"{text}\n{KEY.line(text)}{WITNESS.line(text)}"
    proof = Proof(1, 3, leaves[1], tuple(paths[1]), root, ENTRIES[1])
    path = range_path((1, 2), 3, paths[1], paths[2])
    span = RangeProof(1, 3, 3, tuple(path), root, "orders", 0)
    return {
        ("tlog-proof.md", "tlog-proof"): proof.to_tlog_proof(note),
        ("tlog-proof.md", "keys"): f"{KEY.key}\n{WITNESS.key}\n",
        ("range-proof.md", "range"): span.to_json(),
        ("evidence.md", "records"): "".join(record_to_json(r, indent=None) for r in RECORDS[1:]),
        ("evidence.md", "entries"): "".join(f"{entry.hex()}\n" for entry in ENTRIES[1:]),
        ("evidence.md", "checkpoint"): note,
    }


@pytest.mark.parametrize(("page", "name"), list(examples()))
def test_page(page: str, name: str) -> None:
    assert example(page, name) == examples()[page, name]


def test_the_proof_on_the_page_is_good() -> None:
    proof = example("tlog-proof.md", "tlog-proof").encode()
    record = record_to_json(RECORDS[1]).encode()
    keys = example("tlog-proof.md", "keys").split()
    verdict = judge([proof, record], (), keys)
    assert verdict["not_shown"] == []
    text = (PAGES / "tlog-proof.md").read_text(encoding="utf-8")
    for said in verdict["proved"]:
        assert f"PROVED: {said}" in text


def test_the_evidence_on_the_pages_is_good() -> None:
    names = [("range-proof.md", "range")]
    names += [("evidence.md", name) for name in ("records", "entries", "checkpoint")]
    files = [example(*name).encode() for name in names]
    verdict = judge(files, (), [KEY.key, WITNESS.key])
    assert verdict["not_shown"] == []
    assert verdict["proved"][0].startswith("records 1 to 2 of the 3")
    archive = packed(dict(zip(bundle.EVIDENCE, files, strict=True)))
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        listed = members.namelist()
    page = (PAGES / "evidence.md").read_text(encoding="utf-8")
    for name in listed:
        assert re.search(rf"^\| `{re.escape(name)}` \|", page, re.MULTILINE), name


def test_the_extra_line_is_the_entry() -> None:
    proof = example("tlog-proof.md", "tlog-proof")
    (extra,) = re.findall(r"^extra (.*)$", proof, re.MULTILINE)
    assert base64.b64decode(extra) == ENTRIES[1]
    assert parse_checkpoint(proof.split("\n\n", 1)[1]).origin == ORIGIN


def test_the_pages_name_every_field() -> None:
    text = (PAGES / "range-proof.md").read_text(encoding="utf-8")
    for field in merkql.proof.FORMS["merkql-range/v1"].split():
        assert re.search(rf"^\|[^|]*`{field}`[^|]*\|", text, re.MULTILINE), field
