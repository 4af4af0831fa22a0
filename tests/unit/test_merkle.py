"""The tree's arithmetic: growth, planning, and what is refused."""

from __future__ import annotations

import hashlib

import pytest

from merkql._core.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_path,
    inclusion_path,
    peaks_at,
    prove,
    root_at,
    stored_count,
)
from support.naive_tree import NaiveTree

SIZE_MAX = 2**62


def hashes(count: int) -> list[bytes]:
    return [hashlib.sha256(b"leaf %d" % i).digest() for i in range(count)]


class Levels:
    """Stored hashes in memory, and a log of what was asked for."""

    def __init__(self, leaf_hashes: list[bytes]) -> None:
        self.frontier = Frontier()
        self.levels: dict[int, bytearray] = {}
        self.calls: list[list[tuple[int, int, int]]] = []
        self.store(self.frontier.append(b"".join(leaf_hashes)))

    def store(self, additions: list[tuple[int, int, bytes]]) -> None:
        for level, first, run in additions:
            level_hashes = self.levels.setdefault(level, bytearray())
            assert len(level_hashes) == 32 * first
            level_hashes += run

    def read(self, requests: list[tuple[int, int, int]]) -> list[bytes]:
        self.calls.append(requests)
        return [
            bytes(self.levels[level][32 * first : 32 * (first + count)])
            for level, first, count in requests
        ]


def no_reads(requests: list[tuple[int, int, int]]) -> list[bytes]:
    raise AssertionError(f"asked for {requests}")


# Frontier ---------------------------------------------------------------------------------------


def test_empty_frontier() -> None:
    frontier = Frontier()
    assert (frontier.size, frontier.peaks) == (0, b"")
    assert frontier.root() == EMPTY_ROOT == hashlib.sha256(b"").digest()
    assert frontier.append(b"") == []
    assert root_at(0, no_reads) == EMPTY_ROOT
    assert peaks_at(0, no_reads) == b""


def test_append_returns_each_stored_level_with_its_first_index() -> None:
    frontier = Frontier()
    leaves = hashes(300)
    tree = NaiveTree(leaves)
    assert frontier.append(b"".join(leaves[:10])) == [(0, 0, b"".join(leaves[:10]))]
    additions = frontier.append(b"".join(leaves[10:]))
    assert additions == [
        (0, 10, b"".join(leaves[10:])),
        (4, 0, b"".join(tree.root(16 * i, 16 * i + 16) for i in range(18))),
        (8, 0, tree.root(0, 256)),
    ]


@pytest.mark.parametrize("first", [0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 255, 256])
@pytest.mark.parametrize("count", [1, 2, 3, 15, 16, 17, 63, 64, 65, 66, 129, 600])
def test_append_in_two_parts_is_append_at_once(first: int, count: int) -> None:
    leaves = b"".join(hashes(first + count))
    whole, parts = Frontier(), Frontier()
    expected: dict[int, bytes] = {level: run for level, _, run in whole.append(leaves)}
    found: dict[int, bytes] = {}
    for piece in (leaves[: 32 * first], leaves[32 * first :]):
        for level, index, run in parts.append(piece):
            assert len(found.get(level, b"")) == 32 * index
            found[level] = found.get(level, b"") + run
    assert found == expected
    assert parts.peaks == whole.peaks
    assert parts.root() == whole.root() == NaiveTree(hashes(first + count)).root(0, first + count)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_append_takes_buffers_and_keeps_none(kind: type) -> None:
    source = bytearray(b"".join(hashes(5)))
    frontier = Frontier()
    additions = frontier.append(kind(source))
    source[:] = bytes(len(source))
    assert additions == [(0, 0, b"".join(hashes(5)))]
    assert type(additions[0][2]) is bytes


@pytest.mark.parametrize("wrong", [b"x", bytes(31), bytes(33), bytes(63)])
def test_append_refuses_parts_of_hashes_and_changes_nothing(wrong: bytes) -> None:
    frontier = Frontier()
    frontier.append(b"".join(hashes(5)))
    before = (frontier.size, frontier.peaks)
    with pytest.raises(ValueError, match="not hashes of 32"):
        frontier.append(wrong)
    for not_bytes in (32, None, "x" * 32, [bytes(32)]):
        with pytest.raises(TypeError):
            frontier.append(not_bytes)  # type: ignore[arg-type]
    assert (frontier.size, frontier.peaks) == before


def test_append_refuses_more_leaves_than_a_tree_has() -> None:
    peaks = b"".join(hashes(62))
    frontier = Frontier(SIZE_MAX - 1, peaks)
    with pytest.raises(ValueError, match="at most"):
        frontier.append(bytes(64))
    assert (frontier.size, frontier.peaks) == (SIZE_MAX - 1, peaks)
    assert [level for level, _, _ in frontier.append(bytes(32))] == list(range(0, 61, 4))
    assert frontier.size == SIZE_MAX
    assert frontier.peaks == frontier.root()
    with pytest.raises(ValueError, match="at most"):
        frontier.append(bytes(32))


def test_frontier_from_size_and_peaks_goes_on_where_the_other_stood() -> None:
    leaves = hashes(1000)
    for size in (0, 1, 2, 3, 16, 255, 256, 257, 999):
        frontier = Frontier()
        frontier.append(b"".join(leaves[:size]))
        for other in (Frontier(size, frontier.peaks), frontier.copy()):
            assert (other.size, other.root()) == (size, frontier.root())
            other.append(b"".join(leaves[size:]))
            assert other.root() == NaiveTree(leaves).root(0, 1000)
        assert frontier.size == size  # copies are their own


@pytest.mark.parametrize(
    ("size", "peaks"),
    [(0, bytes(32)), (1, b""), (1, bytes(31)), (1, bytes(64)), (3, bytes(32)), (SIZE_MAX, b"")],
)
def test_frontier_refuses_a_wrong_count_of_peaks(size: int, peaks: bytes) -> None:
    with pytest.raises(ValueError, match="peaks"):
        Frontier(size, peaks)


@pytest.mark.parametrize("size", [-1, SIZE_MAX + 1, 2**63, 2**64, 2**200])
def test_sizes_that_no_tree_has_are_refused(size: int) -> None:
    for refused in (
        lambda: Frontier(size, b""),
        lambda: root_at(size, no_reads),
        lambda: peaks_at(size, no_reads),
        lambda: inclusion_path(0, size, no_reads),
        lambda: prove(0, size, no_reads),
        lambda: consistency_path(1, size, no_reads),
        lambda: stored_count(size, 0),
    ):
        with pytest.raises(ValueError, match="not from"):
            refused()


# Roots and proofs -------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 5), (5, 5), (6, 5), (2**64, 5)])
def test_leaves_outside_the_tree_have_no_proof(index: int, size: int) -> None:
    for call in (inclusion_path, prove):
        with pytest.raises(ValueError, match="not from"):
            call(index, size, no_reads)


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5), (6, 5), (-1, 5), (2**64, 5)])
def test_consistency_is_from_1_to_the_new_size(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="not from"):
        consistency_path(old, new, no_reads)


def test_nothing_is_read_where_nothing_is_needed() -> None:
    frontier = Frontier()
    frontier.append(b"".join(hashes(32)))
    assert consistency_path(7, 7, no_reads) == []
    assert consistency_path(32, 32, no_reads, frontier) == []
    odd = Frontier(SIZE_MAX - 1, b"".join(hashes(62)))
    path = inclusion_path(SIZE_MAX - 2, SIZE_MAX - 1, no_reads, odd)
    assert path == hashes(62)[-2::-1]


def test_a_proof_asks_once_for_few_runs() -> None:
    """Ten million leaves: a run of 16 hashes a stored level, and as many at the right edge."""
    size = 10_000_000
    calls = []

    def read(requests: list[tuple[int, int, int]]) -> list[bytes]:
        calls.append(requests)
        return [bytes(32 * count) for _, _, count in requests]

    inclusion_path(1_234_567, size, read)
    (requests,) = calls
    assert len(requests) <= 10
    assert all(level % 4 == 0 for level, _, _ in requests)
    assert all(first + count <= stored_count(size, level) for level, first, count in requests)
    assert requests[:4] == [(0, 1_234_560, 16), (4, 77_152, 16), (8, 4_816, 16), (12, 288, 16)]


def test_a_frontier_of_the_size_spares_the_right_edge() -> None:
    levels = Levels(hashes(5000))
    for index in (0, 17, 4095, 4096, 4997, 4999):
        without = prove(index, 5000, levels.read)
        assert prove(index, 5000, levels.read, levels.frontier) == without
        plain, spared = levels.calls[-2:]
        assert sum(count for _, _, count in spared) <= sum(count for _, _, count in plain)
        assert inclusion_path(index, 5000, levels.read, levels.frontier) == without[1]
    levels.calls.clear()
    prove(0, 5000, levels.read)
    prove(0, 5000, levels.read, levels.frontier)
    assert [len(requests) for requests in levels.calls] == [5, 3]


def test_a_frontier_of_another_size_is_not_used() -> None:
    levels = Levels(hashes(300))
    for size in (255, 256, 299):
        for index in range(0, size, 7):
            expected = inclusion_path(index, size, levels.read)
            assert inclusion_path(index, size, levels.read, levels.frontier) == expected
            assert prove(index, size, levels.read, levels.frontier)[1] == expected
            old = index + 1
            assert consistency_path(old, size, levels.read, levels.frontier) == (
                consistency_path(old, size, levels.read)
            )


def test_a_damaged_stored_hash_gives_another_root() -> None:
    levels = Levels(hashes(1000))
    assert prove(500, 1000, levels.read)[2] == levels.frontier.root()
    levels.levels[0][32 * 499] ^= 1
    assert prove(500, 1000, levels.read)[2] != levels.frontier.root()


@pytest.mark.parametrize(
    "answer",
    [
        lambda runs: [],
        lambda runs: [*runs, b""],
        lambda runs: [run[:-1] for run in runs],
        lambda runs: [run + b"x" for run in runs],
        lambda runs: [run[32:] for run in runs],
        lambda runs: [bytearray(run) for run in runs],
    ],
)
def test_a_reader_that_answers_something_else_is_caught(answer: object) -> None:
    levels = Levels(hashes(100))

    def read(requests: list[tuple[int, int, int]]) -> list[bytes]:
        return answer(levels.read(requests))  # type: ignore[operator, no-any-return]

    for call in (
        lambda: root_at(100, read),
        lambda: peaks_at(100, read),
        lambda: prove(5, 100, read),
        lambda: consistency_path(5, 100, read),
    ):
        with pytest.raises(ValueError, match="hash reader"):
            call()


def test_what_a_reader_raises_passes_through() -> None:
    def read(requests: list[tuple[int, int, int]]) -> list[bytes]:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        prove(5, 100, read)


def test_stored_count() -> None:
    assert [stored_count(70_000, level) for level in (0, 4, 8, 12, 16, 20)] == [
        70_000,
        4375,
        273,
        17,
        1,
        0,
    ]
