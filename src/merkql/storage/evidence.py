"""Computes roots and proofs of one partition from its stored hashes.

Every result is checked against the writer's root before it is returned, so that a damaged hash file
gives an error and never a wrong proof.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from merkql._core.frontier import Frontier
from merkql._core.merkle import STORED_LEVEL_STRIDE, consistency_path, peaks_at, prove
from merkql._core.treetop import Treetop
from merkql.errors import CorruptionError
from merkql.proof import roots_from_consistency
from merkql.proofs import ConsistencyProof, Proof, RangeProof
from merkql.storage import layout
from merkql.storage.fetching import entry_quickly
from merkql.storage.index_repair import AnyLog
from merkql.storage.tree_space import HASH_SIZE

FRONTIERS_MAX = 64  # cached for past sizes: proofs are made for a few checkpoints
TREETOP_LEVEL_MIN = 8
TREETOP_COUNT_MAX = 1 << 16  # hashes of its lowest level: 4 MiB in all


class Content(NamedTuple):
    """What a proof contains of the record itself; only the salt if the record is gone."""

    entry: bytes | None
    leaf_hash: bytes | None
    salt: bytes


def root_of(log: AnyLog, size: int) -> bytes:
    """The root over the first ``size`` records."""
    return bytes(_frontier_at(log, size).root())


class Prover:
    """Roots and proofs of one partition, for any thread; caches what it has checked."""

    def __init__(self) -> None:
        self._frontiers: dict[int, Frontier] = {}  # by past size
        self._treetop = Treetop(TREETOP_LEVEL_MIN)
        self._lock = threading.Lock()  # guards the treetop

    def root(self, log: AnyLog, size: int) -> bytes:
        """The root over the first ``size`` records."""
        return bytes(self._frontier_at(log, size).root())

    def inclusion(self, log: AnyLog, offset: int, size: int, content: Content) -> Proof:
        """The proof for one record."""
        frontier = self._frontier_at(log, size)
        leaf, path = self._path_under_treetop(log, offset, frontier) or self._path_from_files(
            log, offset, frontier
        )
        if content.leaf_hash is not None and content.leaf_hash != leaf:
            raise CorruptionError(
                layout.tree_level(log.tree.directory, 0),
                offset * HASH_SIZE,
                f"the leaf of offset {offset} is not that of its record",
            )
        root, place = frontier.root(), log.id
        # Positional: keyword arguments take twice as long.
        return Proof(
            offset, size, leaf, path, root, content.entry, content.salt, place.topic, place.index
        )

    def inclusion_quickly(self, log: AnyLog, offset: int, size: int, salt: bytes) -> Proof | None:
        """The proof, if the index leads to the record and its leaf leads to the root; else None.

        The batch's checksum is not needed then; whatever is wrong is left to the slow path, which
        names it.
        """
        found = entry_quickly(log, offset, salt)
        if found is None:
            return None
        try:
            return self.inclusion(log, offset, size, Content(*found, salt))
        except CorruptionError:
            return None

    def consistency(self, log: AnyLog, old: int, new: int) -> ConsistencyProof:
        """The proof that the tree of ``new`` records begins with that of ``old``."""
        frontier = self._frontier_at(log, new)
        proof = ConsistencyProof(
            old_size=old,
            new_size=new,
            old_root=self.root(log, old),
            new_root=frontier.root(),
            path=tuple(consistency_path(old, new, log.tree.read, frontier)),
        )
        if not proof.verify():
            raise tree_damage(
                log, f"the path from {old} to {new} records does not lead to their roots"
            )
        return proof

    def range(self, log: AnyLog, first: int, stop: int, size: int) -> RangeProof:
        """One proof for the records from ``first`` up to ``stop``, made from those of its two ends.

        All its hashes are in those two paths, so checking both is enough, however many records lie
        between.
        """
        frontier = self._frontier_at(log, size)
        _, left = self._path_from_files(log, first, frontier)
        _, right = self._path_from_files(log, stop - 1, frontier)
        path = range_path((first, stop - 1), size, list(left), list(right))
        root = frontier.root()
        return RangeProof(first, stop, size, tuple(path), root, log.id.topic, log.id.index)

    def _path_from_files(
        self, log: AnyLog, offset: int, frontier: Frontier
    ) -> tuple[bytes, tuple[bytes, ...]]:
        leaf, path, root = prove(offset, frontier.size, log.tree.read, frontier)
        if root != frontier.root():
            raise tree_damage(log, f"the path of offset {offset} does not lead to the root")
        return leaf, tuple(path)

    def _path_under_treetop(
        self, log: AnyLog, offset: int, frontier: Frontier
    ) -> tuple[bytes, tuple[bytes, ...]] | None:
        """Leaf hash and path; None if a proof from the files has to find the fault."""
        top = self._treetop
        if frontier.size >> top.level > top.count:
            top = self._grow_treetop(log)
        if offset >> top.level >= frontier.size >> top.level:
            return None  # under the frontier, which is known without a treetop
        try:
            rows = log.tree.rows(offset, top.level)
        except FileNotFoundError:
            return None
        with self._lock:
            return top.prove(offset, frontier, rows)

    def _grow_treetop(self, log: AnyLog) -> Treetop:
        """Extend the treetop to the current tree, confirmed by the writer's peaks."""
        frontier = log.frontier  # read once, as the writer replaces it
        level = TREETOP_LEVEL_MIN
        while frontier.size >> level > TREETOP_COUNT_MAX:
            level += STORED_LEVEL_STRIDE
        with self._lock:
            top = self._treetop if self._treetop.level == level else Treetop(level)
            count = frontier.size >> level
            if count > top.count:
                top.extend(log.tree.read([(level, top.count, count - top.count)])[0])
                if not top.leads_to(frontier):
                    top = Treetop(level)  # an empty one proves nothing
            self._treetop = top
        return top

    def _frontier_at(self, log: AnyLog, size: int) -> Frontier:
        present = log.frontier
        if size == present.size:
            return present
        frontier = self._frontiers.get(size)
        if frontier is None:
            frontier = _frontier_at(log, size)
            if len(self._frontiers) >= FRONTIERS_MAX:
                self._frontiers = {}
            self._frontiers[size] = frontier
        return frontier


def _frontier_at(log: AnyLog, size: int) -> Frontier:
    """The frontier at a past size, from the stored hashes, checked to lead to the current root."""
    present = log.frontier  # read once, as the writer replaces it
    if size == present.size:
        return present
    past = Frontier(size, peaks_at(size, log.tree.read))
    if size:
        root = past.root()
        path = consistency_path(size, present.size, log.tree.read, present)
        expected = (root, present.root())
        if roots_from_consistency(size, present.size, root, path) != expected:
            raise tree_damage(log, f"the root over {size} records does not lead to the present")
    return past


def range_path(
    ends: tuple[int, int], size: int, left: list[bytes], right: list[bytes]
) -> list[bytes]:
    """The path of a range, from the inclusion paths of its first and last record.

    First the hashes left of the first record, then those right of the last, each from the leaves
    up, then those beside the subtree where the two paths meet.
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


def find_leaf(log: AnyLog, wanted: bytes) -> int | None:
    """The offset of the first leaf with this hash; None once all leaves have led to the root."""
    if not isinstance(wanted, bytes) or len(wanted) != HASH_SIZE:
        raise ValueError(f"a leaf hash is {HASH_SIZE} bytes, not {wanted!r}")
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
    """The error for stored hashes that contradict the known root."""
    return CorruptionError(log.tree.directory, 0, reason)
