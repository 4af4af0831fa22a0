"""Stored hashes in files: where they lie, and what is said when they are not there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from merkql._core.merkle import Frontier, prove, root_at
from merkql.errors import CorruptionError
from merkql.storage.file_pool import FilePool
from merkql.storage.files import Files
from merkql.storage.tree_file import TreeFiles
from support.naive_tree import NaiveTree

LEAVES = [hashlib.sha256(b"%d" % i).digest() for i in range(5000)]
TREE = NaiveTree(LEAVES)


@pytest.fixture
def tree(tmp_path: Path) -> TreeFiles:
    return TreeFiles(FilePool(Files()), str(tmp_path))


def fill(tree: TreeFiles, count: int, piece: int = 700) -> Frontier:
    frontier = Frontier()
    while frontier.size < count:
        leaves = LEAVES[frontier.size : min(count, frontier.size + piece)]
        tree.write(frontier.append(b"".join(leaves)))
    return frontier


class RecordingFiles(Files):
    """Remembers which files were synced; fails once where told to."""

    def __init__(self) -> None:
        self.paths: dict[int, str] = {}
        self.synced: list[str] = []
        self.failing: str | None = None

    def open(self, path: str, *, write: bool = False, create: bool = False) -> int:
        descriptor = super().open(path, write=write, create=create)
        self.paths[descriptor] = Path(path).name
        return descriptor

    def sync(self, descriptor: int) -> None:
        name = self.paths[descriptor]
        if name == self.failing:
            self.failing = None
            raise OSError("no sync")
        self.synced.append(name)
        super().sync(descriptor)


def test_a_level_is_a_flat_file_of_its_nodes(tree: TreeFiles, tmp_path: Path) -> None:
    fill(tree, 5000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h00", "h04", "h08", "h12"]
    for level in (0, 4, 8, 12):
        nodes = [TREE.root(i << level, i + 1 << level) for i in range(5000 >> level)]
        assert (tmp_path / f"h{level:02}").read_bytes() == b"".join(nodes)
    assert tree.sizes() == {0: 160_000, 4: 9984, 8: 608, 12: 32}


def test_every_size_and_proof_is_read_back(tree: TreeFiles) -> None:
    frontier = fill(tree, 5000)
    for size in (1, 15, 16, 17, 255, 256, 4095, 4096, 4097, 5000):
        assert root_at(size, tree.read) == TREE.root(0, size)
        for index in (0, size // 2, size - 1):
            expected = (LEAVES[index], TREE.inclusion(index, 0, size), TREE.root(0, size))
            assert prove(index, size, tree.read, frontier) == expected


def test_another_process_reads_the_same(tree: TreeFiles, tmp_path: Path) -> None:
    fill(tree, 300)
    other = TreeFiles(FilePool(Files()), str(tmp_path))
    assert root_at(300, other.read) == TREE.root(0, 300)


@pytest.mark.parametrize("missing", [1, 31, 32, 33])
def test_a_short_file_is_corruption_with_its_place(
    tree: TreeFiles, tmp_path: Path, missing: int
) -> None:
    fill(tree, 100)
    path = tmp_path / "h00"
    os.truncate(path, 3200 - missing)
    with pytest.raises(CorruptionError) as caught:
        prove(99, 100, tree.read)
    assert (caught.value.path, caught.value.position) == (str(path), 3200 - missing)
    assert "missing" in caught.value.reason


def test_a_file_that_is_gone_is_corruption(tree: TreeFiles, tmp_path: Path) -> None:
    fill(tree, 100)
    (tmp_path / "h04").unlink()
    other = TreeFiles(FilePool(Files()), str(tmp_path))
    with pytest.raises(CorruptionError) as caught:
        root_at(100, other.read)
    assert (caught.value.path, caught.value.position) == (str(tmp_path / "h04"), 0)


def test_space_kept_ahead_is_not_taken_for_hashes(tree: TreeFiles, tmp_path: Path) -> None:
    fill(tree, 100)
    os.truncate(tmp_path / "h00", 3200 + 4096)  # as preallocation leaves it
    assert root_at(100, tree.read) == TREE.root(0, 100)
    with pytest.raises(CorruptionError, match="never written") as caught:
        root_at(101, tree.read)
    assert caught.value.position == 3200


def test_appending_goes_on_within_space_kept_ahead(tree: TreeFiles, tmp_path: Path) -> None:
    frontier = fill(tree, 100)
    os.truncate(tmp_path / "h00", 8192)
    tree.write(frontier.append(b"".join(LEAVES[100:120])))
    assert root_at(120, tree.read) == frontier.root() == TREE.root(0, 120)


def test_truncate_cuts_to_the_size_and_never_extends(tree: TreeFiles, tmp_path: Path) -> None:
    fill(tree, 5000)
    os.truncate(tmp_path / "h04", 32)
    tree.truncate(300)
    assert tree.sizes() == {0: 9600, 4: 32, 8: 32, 12: 0}
    tree.truncate(0)
    assert tree.sizes() == {0: 0, 4: 0, 8: 0, 12: 0}


def test_writing_again_what_was_cut_gives_the_same_files(tree: TreeFiles, tmp_path: Path) -> None:
    frontier = fill(tree, 300)
    kept = frontier.copy()
    tree.write(frontier.append(b"".join(LEAVES[300:900])))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    tree.truncate(300)
    tree.write(kept.append(b"".join(LEAVES[300:900])))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_sync_reaches_each_written_file_once(tmp_path: Path) -> None:
    files = RecordingFiles()
    tree = TreeFiles(FilePool(files), str(tmp_path))
    frontier = fill(tree, 20)
    tree.sync()
    assert files.synced == ["h00", "h04"]
    tree.sync()
    tree.write(frontier.append(LEAVES[20]))
    tree.sync()
    assert files.synced == ["h00", "h04", "h00"]
    tree.truncate(16)
    tree.sync()
    assert files.synced[3:] == ["h00"]


def test_sync_includes_what_another_process_wrote(tree: TreeFiles, tmp_path: Path) -> None:
    fill(tree, 20)
    files = RecordingFiles()
    TreeFiles(FilePool(files), str(tmp_path)).sync()
    assert files.synced == ["h00", "h04"]


def test_a_failed_sync_is_not_forgotten(tmp_path: Path) -> None:
    files = RecordingFiles()
    tree = TreeFiles(FilePool(files), str(tmp_path))
    fill(tree, 300)
    files.failing = "h04"
    with pytest.raises(OSError, match="no sync"):
        tree.sync()
    tree.sync()
    assert files.synced == ["h00", "h04", "h08"]


def test_the_top_of_the_tree_is_read_once(tree: TreeFiles, tmp_path: Path) -> None:
    frontier = fill(tree, 4600)
    root = frontier.root()
    assert prove(100, 4600, tree.read)[2] == root
    (tmp_path / "h08").write_bytes(b"")
    assert prove(200, 4600, tree.read)[2] == root
    tree.write(frontier.append(b"".join(LEAVES[4600:])))
    (tmp_path / "h08").write_bytes(b"".join(TREE.root(i << 8, i + 1 << 8) for i in range(19)))
    assert prove(4900, 5000, tree.read)[1:] == (TREE.inclusion(4900, 0, 5000), frontier.root())


def test_what_is_kept_gives_way_to_what_is_written(tree: TreeFiles) -> None:
    """A rebuilt tree after a damaged one, and a tail that was cut and written anew."""
    fill(tree, 600)
    other = Frontier()
    other_leaves = [hashlib.sha256(b"other %d" % i).digest() for i in range(600)]
    root_at(600, tree.read)
    tree.write(other.append(b"".join(other_leaves)))
    assert root_at(600, tree.read) == other.root() == NaiveTree(other_leaves).root(0, 600)
    tree.truncate(300)
    tail = Frontier()
    tail.append(b"".join(other_leaves[:300]))
    tree.write(tail.append(b"".join(LEAVES[:300])))
    assert root_at(600, tree.read) == tail.root()
