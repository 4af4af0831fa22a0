"""Proofs checked in the core: it says what proof.py says, whatever it is given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from merkql import Proof, ProofError, Record
from merkql._core.root_paths import root_from_inclusion
from merkql.checking import surely_holds
from merkql.proof import entry_bytes, leaf_hash, record_digest
from merkql.proofs import SavedRecord
from support.evidence import root_from_inclusion as slow_root_from_inclusion
from support.naive_tree import NaiveTree

INDEX, SIZE = 9, 13
HEADERS = (("kind", b"test"), ("none", None))
RECORD = Record("orders", 0, INDEX, 1_700_000_000_000, b"key", b"value", HEADERS)
ENTRY = entry_bytes(INDEX, RECORD.timestamp_ms, record_digest(b"key", b"value", HEADERS))
LEAVES = [hashlib.sha256(b"%d" % i).digest() for i in range(SIZE)]
LEAVES[INDEX] = leaf_hash(ENTRY)
TREE = NaiveTree(LEAVES)
ROOT = TREE.root(0, SIZE)
PROOF = Proof(INDEX, SIZE, LEAVES[INDEX], tuple(TREE.inclusion(INDEX, 0, SIZE)), ROOT, ENTRY)


def forged_proofs() -> Iterator[Proof]:
    for name in ("leaf_hash", "root", "entry"):
        value: bytes = getattr(PROOF, name)
        for wrong in (b"", value[:-1], value + b"x", bytes([value[0] ^ 1]) + value[1:]):
            yield replace(PROOF, **{name: wrong})  # type: ignore[arg-type]
        yield replace(PROOF, **{name: bytearray(value)})  # type: ignore[arg-type]
    for at, one in enumerate(PROOF.path):
        for instead in ((), (one[:-1],), (one[::-1],), (one, one), (bytearray(one),)):
            yield replace(PROOF, path=(*PROOF.path[:at], *instead, *PROOF.path[at + 1 :]))
    hostile: list[Any] = [-1, 0, 1, True, 8, 12, 14, 9.0, "9", None, 2**62, 2**63, 2**70]
    for number in hostile:
        yield replace(PROOF, index=number)
        yield replace(PROOF, size=number)
    odd: list[Any] = [b"x", bytes(16), bytes(15), None, "salt"]
    for salt in odd:
        yield replace(PROOF, salt=salt)
    paths: list[Any] = [None, b"", list(PROOF.path), iter(PROOF.path), "path", 5]
    for path in paths:
        yield replace(PROOF, path=path)


def test_a_sound_proof_holds() -> None:
    saved = SavedRecord("orders", 0, INDEX, RECORD.timestamp_ms, b"key", b"value", HEADERS)
    for proof in (PROOF, replace(PROOF, entry=None), replace(PROOF, path=list(PROOF.path))):  # type: ignore[arg-type]
        for record in (RECORD, saved):
            assert surely_holds(proof, record, None)
            assert surely_holds(proof, record, ROOT)


def test_what_proof_py_refuses_is_refused() -> None:
    refused = 0
    for proof in forged_proofs():
        for root in (None, ROOT):
            accepted = True
            try:
                proof.check(RECORD, root)
            except Exception:  # of hostile types it refuses some by what they lead to
                accepted = False
            assert surely_holds(proof, RECORD, root) <= accepted
            refused += not accepted
    assert refused > 100
    others: list[Any] = [bytes(32), b"", ROOT[:-1], bytearray(ROOT)]
    for other in others:
        assert not surely_holds(PROOF, RECORD, other)


@pytest.mark.parametrize(
    "change",
    [
        {"key": b"kez"},
        {"key": None},
        {"value": b""},
        {"value": None},
        {"headers": ()},
        {"headers": HEADERS[::-1]},
        {"offset": INDEX + 1},
        {"timestamp_ms": RECORD.timestamp_ms + 1},
    ],
)
def test_another_record_is_refused(change: dict[str, Any]) -> None:
    names = ("topic", "partition", "offset", "timestamp_ms", "key", "value", "headers")
    fields = {name: getattr(RECORD, name) for name in names} | change
    assert not surely_holds(PROOF, SavedRecord(**fields), None)
    assert not surely_holds(PROOF, SavedRecord(**fields), ROOT)


def test_the_two_ways_to_the_root_agree() -> None:
    for size in (1, 2, 3, 12, 13):
        tree = NaiveTree(LEAVES[:size])
        for index in range(size):
            path = tree.inclusion(index, 0, size)
            root = root_from_inclusion(LEAVES[index], index, size, path)
            assert root == tree.root(0, size)
            assert root == slow_root_from_inclusion(LEAVES[index], index, size, path)


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [(0, 0, []), (5, 5, []), (-1, 5, []), (0, 2, []), (0, 1, [bytes(32)]), (0, 2, [bytes(31)])],
)
def test_places_and_paths_that_no_tree_has(index: int, size: int, path: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"not from|path|hash"):
        root_from_inclusion(bytes(32), index, size, path)
    with pytest.raises(ProofError):
        slow_root_from_inclusion(bytes(32), index, size, path)
