"""The upper part of a tree in memory: proofs under it, and what it does not take."""

from __future__ import annotations

import hashlib

import pytest

from merkql._core.frontier import Frontier
from merkql._core.treetop import Treetop
from support.naive_tree import NaiveTree

COUNT = 5000
LEAVES = [hashlib.sha256(b"%d" % i).digest() for i in range(COUNT)]
TREE = NaiveTree(LEAVES)


def nodes(level: int, first: int, end: int) -> bytes:
    return b"".join(TREE.root(i << level, i + 1 << level) for i in range(first, end))


def rows(index: int, top: int) -> bytes:
    firsts = [(level, (index >> level) // 16 * 16) for level in range(0, top, 4)]
    return b"".join(nodes(level, first, first + 16) for level, first in firsts)


def frontier_of(size: int) -> Frontier:
    frontier = Frontier()
    frontier.append(b"".join(LEAVES[:size]))
    return frontier


def treetop_of(size: int, level: int, piece: int = 7) -> Treetop:
    top = Treetop(level)
    while top.count < size >> level:
        top.extend(nodes(level, top.count, min(top.count + piece, size >> level)))
    return top


@pytest.mark.parametrize("level", [4, 8, 12])
def test_proofs_of_every_kind_of_size(level: int) -> None:
    top = treetop_of(COUNT, level)
    for size in (1 << level, (1 << level) + 1, 4095, 4096, 4097, 4351, 4352, 4999, COUNT):
        frontier = frontier_of(size)
        for index in {0, 1, 15, 16, 255, 256, size // 2, size - 257, size - 17, size - 1}:
            if not 0 <= index < size >> level << level:
                continue
            expected = (LEAVES[index], tuple(TREE.inclusion(index, 0, size)))
            assert top.prove(index, frontier, rows(index, level)) == expected


def test_what_is_under_the_right_edge_is_not_proved() -> None:
    top = treetop_of(COUNT, 4)
    assert top.prove(4992, frontier_of(COUNT), bytes(512)) is None
    assert top.prove(100, frontier_of(105), rows(100, 4)) is None
    assert treetop_of(4000, 4).prove(3, frontier_of(COUNT), rows(3, 4)) is None


def test_rows_that_lead_elsewhere_prove_nothing() -> None:
    top, frontier, sound = treetop_of(COUNT, 8), frontier_of(COUNT), rows(1234, 8)
    assert top.prove(1234, frontier, sound) is not None
    for place in range(0, len(sound), 31):
        changed = bytearray(sound)
        changed[place] ^= 1
        assert top.prove(1234, frontier, bytes(changed)) is None
    for wrong in (b"", sound[:-1], sound + bytes(1), sound[:512], sound[512:] + sound[:512]):
        assert top.prove(1234, frontier, wrong) is None
    assert top.prove(1234 + 256, frontier, sound) is None


def test_it_leads_to_the_edge_of_its_own_tree_only() -> None:
    for size in (0, 15, 16, 4096, COUNT):
        assert treetop_of(size, 4).leads_to(frontier_of(size))
    assert not treetop_of(4000, 4).leads_to(frontier_of(COUNT))
    for place in range(0, 32 * (COUNT >> 4), 501):
        changed = bytearray(nodes(4, 0, COUNT >> 4))
        changed[place] ^= 1
        top = Treetop(4)
        top.extend(bytes(changed))
        assert not top.leads_to(frontier_of(COUNT))


@pytest.mark.parametrize("level", [-4, 0, 1, 6, 63, 64])
def test_levels_that_are_not_stored_are_refused(level: int) -> None:
    with pytest.raises(ValueError, match="level"):
        Treetop(level)


def test_pieces_of_hashes_are_refused() -> None:
    with pytest.raises(ValueError, match="hashes"):
        Treetop(4).extend(bytes(33))
    with pytest.raises(ValueError, match="not from"):
        Treetop(4).prove(-1, Frontier(), b"")
