"""Roots and proofs of one partition, from its stored hashes.

Every result is checked against the root the writer carries before it is handed out, so that a
damaged hash file is an error and never a wrong proof.
"""

from __future__ import annotations

from merkql._core.frontier import Frontier
from merkql._core.merkle import EMPTY_ROOT, consistency_path, prove, root_at
from merkql.errors import CorruptionError
from merkql.proof import leaf_hash, roots_from_consistency
from merkql.proofs import ConsistencyProof, Proof, RangeProof
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


def range_proof(log: AnyLog, first: int, stop: int, size: int) -> RangeProof:
    """One proof for the records from ``first`` up to ``stop``, out of those of the two at the ends.

    Its hashes are all in these two paths, so that checking these vouches for it, however many
    records there are in between.
    """
    frontier = log.frontier  # once: the writer replaces it
    current = frontier if size == frontier.size else None
    _, left, root = prove(first, size, log.tree.read, current)
    _, right, same = prove(stop - 1, size, log.tree.read, current)
    if not root == same == root_of(log, size):
        raise tree_damage(log, f"the paths of {first} and {stop - 1} do not lead to the root")
    path = range_path((first, stop - 1), size, left, right)
    return RangeProof(first, stop, size, tuple(path), root, log.id.topic, log.id.index)


def range_path(
    ends: tuple[int, int], size: int, left: list[bytes], right: list[bytes]
) -> list[bytes]:
    """The path of a range from the inclusion paths of its first record and of its last.

    What lies left of the first, what lies right of the last, each from the leaves up, and then
    what is beside the subtree in which the two paths have met.
    """
    first, last = ends
    if first == last:
        return left
    meeting = (first ^ last).bit_length() - 1  # at this level first is below left, last right
    above = left[meeting + 1 :]
    below = right[: len(right) - len(above) - 1]
    inner = (last ^ (size - 1)).bit_length()  # at this level, and above, all siblings stand left
    lefts = [left[level] for level in range(meeting) if first >> level & 1]
    rights = [node for level, node in enumerate(below[:inner]) if not last >> level & 1]
    return lefts + rights + above


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
