"""Roots and proofs of one partition, from its stored hashes.

Every result is checked against the root the writer carries before it is handed out, so that a
damaged hash file is an error and never a wrong proof.
"""

from __future__ import annotations

from merkql._core.frontier import Frontier
from merkql._core.merkle import EMPTY_ROOT, consistency_path, prove, root_at
from merkql.errors import CorruptionError
from merkql.proof import ConsistencyProof, Proof, leaf_hash, roots_from_consistency
from merkql.storage import layout
from merkql.storage.index_repair import AnyLog
from merkql.storage.partition_log import HASH_SIZE


def root_of(log: AnyLog, size: int) -> bytes:
    """The root over the first ``size`` records."""
    frontier = log.frontier  # once: the writer replaces it
    return frontier.root() if size == frontier.size else _historical_root(log, size)


def inclusion_proof(
    log: AnyLog, offset: int, size: int, content: tuple[bytes | None, bytes]
) -> Proof:
    """The proof for one record; ``content`` is its entry, where it is still here, and its salt."""
    entry, salt = content
    frontier = log.frontier  # once: the writer replaces it
    current = frontier if size == frontier.size else None
    leaf, path, root = prove(offset, size, log.tree.read, current)
    if entry is not None and leaf_hash(entry) != leaf:
        raise CorruptionError(
            layout.tree_level(log.tree.directory, 0),
            offset * HASH_SIZE,
            f"the leaf of offset {offset} is not that of its record",
        )
    if root != root_of(log, size):
        raise tree_damage(log, f"the path of offset {offset} does not lead to the root")
    return Proof(
        index=offset,
        size=size,
        leaf_hash=leaf,
        path=tuple(path),
        root=root,
        entry=entry,
        salt=salt,
        topic=log.id.topic,
        partition=log.id.index,
    )


def consistency_proof(log: AnyLog, old: int, new: int) -> ConsistencyProof:
    """The proof that the tree of ``new`` records begins with that of ``old``."""
    frontier = log.frontier  # once: the writer replaces it
    current = frontier if new == frontier.size else None
    path = consistency_path(old, new, log.tree.read, current)
    proof = ConsistencyProof(
        old_size=old,
        new_size=new,
        old_root=root_of(log, old),
        new_root=root_of(log, new),
        path=tuple(path),
    )
    if not proof.verify():
        raise tree_damage(log, f"the path from {old} to {new} records does not lead to their roots")
    return proof


def find_leaf(log: AnyLog, wanted: bytes) -> int | None:
    """The offset of the first leaf with this hash, or None, once all leaves led to the root."""
    step = (1 << 20) // HASH_SIZE
    known = log.frontier
    read = Frontier()
    for first in range(0, known.size, step):
        hashes = log.tree.read([(0, first, min(step, known.size - first))])[0]
        read.append(hashes)
        at = hashes.find(wanted)
        while at >= 0 and at % HASH_SIZE:
            at = hashes.find(wanted, at + 1)
        if at >= 0:
            return first + at // HASH_SIZE
    if read.peaks != known.peaks:
        raise tree_damage(log, "the stored leaves do not lead to the root")
    return None


def tree_damage(log: AnyLog, reason: str) -> CorruptionError:
    """The error for stored hashes that contradict what is known."""
    return CorruptionError(log.tree.directory, 0, reason)


def _historical_root(log: AnyLog, size: int) -> bytes:
    """An old root from the stored hashes, checked to be a past of the root we hold."""
    if not size:
        return bytes(EMPTY_ROOT)
    frontier = log.frontier
    root = bytes(root_at(size, log.tree.read))
    path = consistency_path(size, frontier.size, log.tree.read, frontier)
    expected = (root, frontier.root())
    if roots_from_consistency(size, frontier.size, root, path) != expected:
        raise tree_damage(log, f"the root over {size} records does not lead to the present")
    return root
