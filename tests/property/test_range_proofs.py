"""Range proofs against the recursive definition, for every range of every small tree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql import Broker, OffsetOutOfRangeError
from merkql._core.leaf import record_leaf_hash, record_leaf_hashes
from merkql._core.root_paths import root_from_range as core_root_from_range
from merkql.proof import ProofError, root_from_range
from merkql.proofs import RangeProof, SavedRecord, record_from_json, record_to_json
from merkql.storage.evidence import range_path
from support.evidence import root_from_inclusion
from support.naive_tree import NaiveTree, leaf, split

LEAVES = [leaf(bytes([number])) for number in range(130)]
TREE = NaiveTree(LEAVES)


def range_oracle(first: int, stop: int, low: int, high: int) -> list[bytes]:
    """The path as it is defined: the roots of the parts without any of the leaves."""
    if high - low == 1:
        return []
    middle = low + split(high - low)
    parts: list[bytes] = []
    missing: list[bytes] = []
    for begin, end in ((low, middle), (middle, high)):
        if end <= first or begin >= stop:
            missing.append(TREE.root(begin, end))
        else:
            parts += range_oracle(first, stop, begin, end)
    return parts + missing


def ranges(size: int) -> Iterator[tuple[int, int]]:
    for first in range(size):
        yield from ((first, stop) for stop in range(first + 1, size + 1))


def path_of(first: int, stop: int, size: int) -> list[bytes]:
    ends = [TREE.inclusion(index, 0, size) for index in (first, stop - 1)]
    return range_path((first, stop - 1), size, *ends)


@pytest.mark.parametrize("size", [*range(1, 34), 63, 64, 65])
def test_every_range_of_a_tree(size: int) -> None:
    for first, stop in ranges(size):
        path = path_of(first, stop, size)
        assert path == range_oracle(first, stop, 0, size)
        assert root_from_range(LEAVES[first:stop], first, size, path) == TREE.root(0, size)
        leaves = b"".join(LEAVES[first:stop])
        assert core_root_from_range(leaves, first, size, path) == TREE.root(0, size)
        assert len(path) <= 2 * max(size - 1, 1).bit_length()


@pytest.mark.exhaustive
def test_every_range_of_every_tree() -> None:
    for size in range(1, 131):
        for first, stop in ranges(size):
            path = path_of(first, stop, size)
            assert root_from_range(LEAVES[first:stop], first, size, path) == TREE.root(0, size)
            leaves = b"".join(LEAVES[first:stop])
            assert core_root_from_range(leaves, first, size, path) == TREE.root(0, size)


def test_a_range_of_one_record_is_an_inclusion_proof() -> None:
    for size in (1, 2, 7, 8, 100):
        for index in range(size):
            path = TREE.inclusion(index, 0, size)
            assert path_of(index, index + 1, size) == path
            root = root_from_inclusion(LEAVES[index], index, size, path)
            assert root == root_from_range(LEAVES[index : index + 1], index, size, path)


@given(st.integers(1, 130), st.data())
def test_what_is_changed_is_refused(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(first + 1, size))
    path, leaves = path_of(first, stop, size), LEAVES[first:stop]
    whole = (leaves, path, first)
    kind = data.draw(st.sampled_from(["leaf", "path", "place", "drop", "extra", "swap"]))
    if kind == "leaf":
        at = data.draw(st.integers(0, len(leaves) - 1))
        leaves = [*leaves[:at], bytes(32), *leaves[at + 1 :]]
    elif kind == "path" and path:
        at = data.draw(st.integers(0, len(path) - 1))
        path = [*path[:at], bytes(32), *path[at + 1 :]]
    elif kind == "place":
        first = data.draw(st.integers(-1, 131).filter(lambda other: other != first))
    elif kind == "drop":
        path, leaves = (path[:-1], leaves) if path else (path, leaves[:-1])
    elif kind == "extra":
        path = [*path, bytes(32)]
    elif len(leaves) > 1:
        leaves = [leaves[1], leaves[0], *leaves[2:]]
    else:
        return
    if (leaves, path, first) == whole:
        return
    assert_both_refuse(leaves, first, size, path)


def assert_both_refuse(leaves: list[bytes], first: int, size: int, path: list[bytes]) -> None:
    """Another root, or an error; and that the two ways to the root agree on which."""
    try:
        found = root_from_range(leaves, first, size, path)
    except ProofError:
        with pytest.raises(ValueError, match=r"path|first|leaves|hashes"):
            core_root_from_range(b"".join(leaves), first, size, path)
    else:
        assert found != TREE.root(0, size)
        assert core_root_from_range(b"".join(leaves), first, size, path) == found


@pytest.mark.parametrize(
    ("leaves", "path"),
    [([], []), ([b"x"], [bytes(32)]), ([bytes(32)], [bytes(31)]), ([bytes(32)], ["x" * 32])],
)
def test_what_is_no_hash_is_refused(leaves: list[bytes], path: list[bytes]) -> None:
    with pytest.raises(ValueError, match="hash"):
        core_root_from_range(b"".join(leaves), 0, 2, path)


def test_records_hashed_together_are_those_hashed_alone() -> None:
    records = [
        SavedRecord("audit", 0, at, -at, b"k" * at or None, b"v" * (at % 5), headers[: at % 3])
        for at, headers in enumerate([(("é", b"1"), ("", None))] * 300)
    ]
    salts = [bytes([at % 256] * 16) for at in range(300)]
    for salted in (False, True):
        alone = [
            record_leaf_hash(
                one.offset, one.timestamp_ms, one.key, one.value, one.headers, salt * salted
            )
            for one, salt in zip(records, salts, strict=True)
        ]
        assert record_leaf_hashes(records, b"".join(salts) * salted) == b"".join(alone)
    with pytest.raises(ValueError, match="salts"):
        record_leaf_hashes(records, b"".join(salts[:-1]))
    assert record_leaf_hashes([]) == b""


def test_proofs_of_a_partition() -> None:
    with Broker.temporary() as broker:
        producer = broker.producer()
        producer.send_values("audit", [f"entry {number}" for number in range(100)])
        partition = broker.topic("audit").partition(0)
        root, old = partition.root(), partition.root(40)
        for first, stop in ((0, 1), (0, 100), (99, 100), (17, 63), (40, 41)):
            proof = partition.prove_range(first, stop)
            records = partition.read_range(first, stop)
            proof.check(records, root)
            assert RangeProof.from_json(proof.to_json()) == proof
            saved = [record_from_json(record_to_json(record)) for record in records]
            assert proof.verify(saved, root)
            assert not proof.verify(saved, bytes(32))
            assert not proof.verify(saved[:-1], root)
            assert not proof.verify(saved[::-1], root) or len(saved) == 1
            assert not proof.verify([*saved, saved[-1]], root)
        assert partition.prove_range(7, 9, size=40).verify(partition.read_range(7, 9), old)
        assert partition.prove_range(3, 4).path == partition.proof(3).path
        for first, stop in ((0, 0), (5, 4), (-1, 3)):
            with pytest.raises(ValueError, match=r"at least|more than"):
                partition.prove_range(first, stop)
        with pytest.raises(OffsetOutOfRangeError):
            partition.prove_range(0, 101)


@pytest.mark.parametrize(
    ("name", "value"),
    [("first", -1), ("first", "0"), ("stop", 0), ("stop", 2**62 + 1), ("size", 3), ("root", b"")],
)
def test_fields_that_are_not_ones_of_a_range_are_refused(name: str, value: object) -> None:
    fields = {"first": 0, "stop": 4, "size": 4, "path": (), "root": TREE.root(0, 4)}
    RangeProof(**fields).check_leaves(LEAVES[:4])  # type: ignore[arg-type]
    with pytest.raises(ProofError):
        RangeProof(**fields | {name: value}).check_leaves(LEAVES[:4])  # type: ignore[arg-type]
