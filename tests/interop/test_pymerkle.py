"""Roots and inclusion paths against pymerkle, which grew up apart from us.

Its consistency proofs have a shape of their own and are not compared. It counts leaves from 1 and
puts the leaf itself at the head of a path.
"""

from __future__ import annotations

import hashlib
import random

import pytest

from merkql._core.merkle import Frontier, inclusion_path, root_at
from merkql.proof import leaf_hash
from support.evidence import root_from_inclusion

pymerkle = pytest.importorskip("pymerkle", reason="pip install merkql[interop]")
pytestmark = pytest.mark.interop

SIZE = 200
ENTRIES = [hashlib.sha512(b"%d" % i).digest()[:49] for i in range(SIZE)]


def test_roots_and_inclusion_paths_agree() -> None:
    theirs = pymerkle.InmemoryTree(algorithm="sha256")
    frontier = Frontier()
    levels: dict[int, bytes] = {}

    def read(requests: list[tuple[int, int, int]]) -> list[bytes]:
        return [levels[level][32 * first : 32 * (first + n)] for level, first, n in requests]

    for size, entry in enumerate(ENTRIES, 1):
        assert theirs.append_entry(entry) == size
        for level, _, hashes in frontier.append(leaf_hash(entry)):
            levels[level] = levels.get(level, b"") + hashes
        assert frontier.root() == root_at(size, read) == theirs.get_root(size)
    source = random.Random(1)
    for size in range(1, SIZE + 1):
        for index in {0, size - 1, *(source.randrange(size) for _ in range(10))}:
            path = inclusion_path(index, size, read)
            proof = theirs.prove_inclusion(index + 1, size)
            assert [leaf_hash(ENTRIES[index]), *path] == list(proof.path)
            root = root_from_inclusion(leaf_hash(ENTRIES[index]), index, size, path)
            pymerkle.verify_inclusion(leaf_hash(ENTRIES[index]), root, proof)
