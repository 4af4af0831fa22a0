"""Where tiles lie and which there are: the examples of c2sp.org/tlog-tiles, and a count by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkql.transparency.tiles import (
    ENTRIES,
    Tile,
    levels_of,
    parse_tile,
    partial_tiles,
    tiles_of_level,
)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(1, 1000, 5), "tile/1/x001/000.p/5"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(ENTRIES, 3907, 108), "tile/entries/x003/907.p/108"),
    ],
)
def test_paths_are_the_published_ones(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert parse_tile(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile/0",
        "tile/0/0",
        "tile/00/000",
        "tile/0/000.p",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x001",
        "tile/-1/000",
        "tile/0/\u0661\u0661\u0661",
        "tile/0/" + "x001/" * 8 + "000",
    ],
)
def test_other_spellings_are_no_tiles(path: str) -> None:
    assert parse_tile(path) is None


@pytest.mark.parametrize(
    ("size", "levels"),
    [
        (0, []),
        (1, [(0, 1)]),
        (255, [(0, 255)]),
        (256, [(1, 0), (0, 1)]),
        (70_000, [(273, 112), (1, 17), (0, 1)]),
        (65_536, [(256, 0), (1, 0), (0, 1)]),
    ],
)
def test_a_tree_has_the_tiles_of_the_page(size: int, levels: list[tuple[int, int]]) -> None:
    found = []
    for level in levels_of(size):
        tiles = list(tiles_of_level(level, size))
        partial = tiles[-1].width if tiles[-1].width < 256 else 0
        found.append((len(tiles) - bool(partial), partial))
    assert found == levels


@given(st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 3))
def test_what_is_new_and_what_was_full_are_all(since: int, more: int, level: int) -> None:
    size = since + more
    new = list(tiles_of_level(level, size, since))
    was_full = [Tile(level, n) for n in range((since >> 8 * level) // 256)]
    assert was_full + new == list(tiles_of_level(level, size))


@given(st.integers(0, 2**40))
def test_partial_tiles_are_those_at_the_end(size: int) -> None:
    for tile in partial_tiles(size):
        count = size >> 8 * max(tile.level, 0)
        assert (tile.first + tile.width, tile.width) == (count, count % 256)
