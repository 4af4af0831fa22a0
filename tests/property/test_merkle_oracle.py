"""Roots and proofs against RFC 9162's recursive definitions: an oracle that shares no code."""

from __future__ import annotations

import hashlib
import random
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql._core.merkle import (
    Frontier,
    consistency_path,
    inclusion_path,
    peaks_at,
    prove,
    root_at,
    stored_count,
)
from merkql.proof import ProofError, roots_from_consistency
from support.evidence import root_from_inclusion
from support.naive_tree import NaiveTree

SMALL = 300
LARGE = 100_000


class Log:
    """A tree of `size` leaves, stored as appended in pieces; and its oracle."""

    def __init__(self, size: int, pieces: list[int]) -> None:
        leaves = [hashlib.sha256(b"%d of %d" % (i, size)).digest() for i in range(size)]
        self.tree = NaiveTree(leaves)
        self.leaves = leaves
        self.frontier = Frontier()
        self.levels: dict[int, bytearray] = {}
        for piece in pieces:
            self.append(piece)
        self.append(size - self.frontier.size)

    def append(self, count: int) -> None:
        size = self.frontier.size
        for level, first, run in self.frontier.append(b"".join(self.leaves[size : size + count])):
            stored = self.levels.setdefault(level, bytearray())
            assert len(stored) == 32 * first, "a gap in what is stored"
            stored += run

    def read(self, requests: list[tuple[int, int, int]]) -> list[bytes]:
        return [
            bytes(self.levels[level][32 * first : 32 * (first + count)])
            for level, first, count in requests
        ]


@cache
def small_log() -> Log:
    return Log(SMALL, [])


@cache
def large_log() -> Log:
    source = random.Random(5)
    return Log(LARGE, [source.choice([1, 2, 16, 100, 1000]) for _ in range(200)])


def test_roots_and_peaks_of_all_small_sizes() -> None:
    log, frontier = small_log(), Frontier()
    for size in range(SMALL + 1):
        expected = log.tree.root(0, size)
        assert frontier.root() == root_at(size, log.read) == expected
        assert frontier.peaks == peaks_at(size, log.read)
        assert Frontier(size, frontier.peaks).root() == expected
        if size < SMALL:
            frontier.append(log.leaves[size])


def test_every_inclusion_proof_of_small_sizes() -> None:
    log, frontier = small_log(), Frontier()
    for size in range(1, SMALL + 1):
        frontier.append(log.leaves[size - 1])
        root = log.tree.root(0, size)
        for index in range(size):
            path = log.tree.inclusion(index, 0, size)
            assert inclusion_path(index, size, log.read) == path
            assert prove(index, size, log.read, frontier) == (log.leaves[index], path, root)
            assert root_from_inclusion(log.leaves[index], index, size, path) == root


def test_every_consistency_proof_of_small_sizes() -> None:
    log, frontier = small_log(), Frontier()
    for new in range(1, SMALL + 1):
        frontier.append(log.leaves[new - 1])
        for old in range(1, new + 1):
            path = log.tree.consistency(0, old, new)
            assert consistency_path(old, new, log.read) == path
            assert consistency_path(old, new, log.read, frontier) == path
            roots = (log.tree.root(0, old), log.tree.root(0, new))
            assert roots_from_consistency(old, new, roots[0], path) == roots


@given(st.data())
def test_proofs_in_a_larger_tree(data: st.DataObject) -> None:
    log = large_log()
    size = data.draw(st.integers(1, LARGE) | st.just(LARGE))
    index = data.draw(st.integers(0, size - 1) | st.just(size - 1) | st.just(0))
    path = log.tree.inclusion(index, 0, size)
    root = log.tree.root(0, size)
    assert root_at(size, log.read) == root
    assert prove(index, size, log.read, log.frontier) == (log.leaves[index], path, root)
    assert root_from_inclusion(log.leaves[index], index, size, path) == root
    old = index + 1
    consistency = log.tree.consistency(0, old, size)
    assert consistency_path(old, size, log.read, log.frontier) == consistency
    old_root = log.tree.root(0, old)
    assert roots_from_consistency(old, size, old_root, consistency) == (old_root, root)


@given(st.lists(st.integers(0, 400), max_size=12))
def test_pieces_make_no_difference(pieces: list[int]) -> None:
    size = sum(pieces)
    log = Log(size, pieces)
    assert log.frontier.root() == log.tree.root(0, size)
    for level in range(0, 64, 4):
        stored = [
            log.tree.root(i << level, (i + 1) << level) for i in range(stored_count(size, level))
        ]
        assert bytes(log.levels.get(level, b"")) == b"".join(stored)


@given(st.integers(1, 2**62), st.data())
def test_huge_trees_are_planned_within_their_levels(size: int, data: st.DataObject) -> None:
    """No such tree fits anywhere; the plan must still ask only for what it would store."""
    index = data.draw(st.integers(0, size - 1))
    asked = 0

    def read(requests: list[tuple[int, int, int]]) -> list[bytes]:
        nonlocal asked
        asked += 1
        for level, first, count in requests:
            assert level % 4 == 0
            assert 0 < count <= 256
            assert first >= 0
            assert first + count <= size >> level
        return [bytes(32 * count) for _, _, count in requests]

    path = inclusion_path(index, size, read)
    try:
        root_from_inclusion(bytes(32), index, size, path)
        roots_from_consistency(index + 1, size, bytes(32), consistency_path(index + 1, size, read))
    except ProofError as error:
        raise AssertionError("the length is not what the verifier counts") from error
    assert asked <= 2


@pytest.mark.slow
def test_every_proof_of_a_thousand_leaves() -> None:
    log = Log(1030, [])
    for size in range(900, 1031):
        root = log.tree.root(0, size)
        for index in range(size):
            assert prove(index, size, log.read)[1:] == (log.tree.inclusion(index, 0, size), root)
            assert consistency_path(index + 1, size, log.read) == (
                log.tree.consistency(0, index + 1, size)
            )
