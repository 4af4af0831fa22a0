"""Which tiles a tree of some size has, and their paths (c2sp.org/tlog-tiles). Pure arithmetic.

Tile N of level L has the hashes [256 N, 256 N + width) of the tree's level 8 L; a bundle has the
entries below a tile of level 0. Format: docs/formats/tiles.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
LEVEL_MAX = 63
HASH_SIZE = 32
ENTRIES = -1  # in place of a level: the bundles of entries
CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile, or with level ``ENTRIES`` one bundle; ``width`` is 256 if it is full."""

    level: int
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Its path below the log's prefix."""
        kind = "entries" if self.level == ENTRIES else str(self.level)
        path = f"tile/{kind}/{_digits(self.index)}"
        return path if self.width == TILE_WIDTH else f"{path}.p/{self.width}"

    @property
    def partials(self) -> str:
        """The directory of its partial versions."""
        return f"{Tile(self.level, self.index).path}.p"

    @property
    def first(self) -> int:
        """The index of its first hash in its level; the first offset of a bundle."""
        return self.index * TILE_WIDTH


def _digits(index: int) -> str:
    """``1234067`` as ``x001/x234/067``."""
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        groups.append(f"x{index % 1000:03d}")
    return "/".join(reversed(groups))


def parse_tile(path: str) -> Tile | None:
    """The tile with this path; None unless the path has the canonical form."""
    parts = path.split("/")
    width = "256"
    if len(parts) > 3 and parts[-2].endswith(".p"):
        width = parts.pop()
        parts[-1] = parts[-1].removesuffix(".p")
    groups = [part.removeprefix("x") for part in parts[2:]]
    kind = parts[1] if len(parts) > 2 else ""
    numbers = [width, *groups, "0" if kind == "entries" else kind]
    if not all(number.isascii() and number.isdecimal() for number in numbers) or len(groups) > 7:
        return None
    level = ENTRIES if kind == "entries" else int(kind)
    tile = Tile(level, int("".join(groups)), int(width))
    return tile if tile.path == path and 0 < tile.width <= TILE_WIDTH else None


def tiles_of_level(level: int, size: int, since: int = 0) -> Iterator[Tile]:
    """The tiles of a level in a tree of ``size``, except those full in one of ``since`` leaves.

    The last may be partial; none is empty. ``level`` may be ``ENTRIES``.
    """
    shift = TILE_HEIGHT * max(level, 0)
    count = size >> shift
    for index in range((since >> shift) // TILE_WIDTH, count // TILE_WIDTH):
        yield Tile(level, index)
    if count % TILE_WIDTH:
        yield Tile(level, count // TILE_WIDTH, count % TILE_WIDTH)


def levels_of(size: int) -> range:
    """The levels that have tiles in a tree of ``size`` leaves."""
    return range((max(size.bit_length(), 1) - 1) // TILE_HEIGHT + 1 if size else 0)


def partial_tiles(size: int) -> Iterator[Tile]:
    """The partial tiles and the partial bundle of a tree of ``size`` leaves."""
    for level in (ENTRIES, *levels_of(size)):
        for tile in tiles_of_level(level, size, since=size):
            if tile.width < TILE_WIDTH:
                yield tile
