"""Checks proofs in compiled code, several times as fast as ``merkql.proof``.

It can only confirm: a proof it does not confirm is left to ``merkql.proof``, which explains why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from merkql._core.leaf import entry as entry_bytes
from merkql._core.leaf import record_digest, record_leaf_hashes
from merkql._core.root_paths import root_from_inclusion, root_from_range
from merkql._core.sha256 import leaf_hashes


def surely_holds(proof: Any, record: Any, root: bytes | None) -> bool:
    """Whether everything matches, and has exactly the types that proofs are made of.

    Cost: 3 µs in a tree of ten million records.
    """
    try:
        return _holds(proof, record, root)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return False


def _holds(proof: Any, record: Any, root: bytes | None) -> bool:
    offset, timestamp_ms, claimed = record.offset, record.timestamp_ms, proof.root
    if not (type(offset) is type(timestamp_ms) is type(proof.index) is type(proof.size) is int):
        return False
    if not (type(claimed) is type(proof.leaf_hash) is bytes and type(proof.path) in (tuple, list)):
        return False
    if not _none_or_equal(root, claimed):
        return False
    digest = record_digest(record.key, record.value, record.headers, proof.salt)
    entry = entry_bytes(offset, timestamp_ms, digest)
    leaf = leaf_hashes(entry)
    if offset != proof.index or leaf != proof.leaf_hash or not _none_or_equal(proof.entry, entry):
        return False
    return root_from_inclusion(leaf, offset, proof.size, proof.path) == claimed


def range_surely_holds(proof: Any, records: Sequence[Any], root: bytes | None) -> bool:
    """The same for all the records of a range proof.

    Cost: 0.4 µs per small record.
    """
    try:
        return _range_holds(proof, records, root)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return False


def _range_holds(proof: Any, records: Sequence[Any], root: bytes | None) -> bool:
    first, claimed = proof.first, proof.root
    whole = type(first) is type(proof.stop) is type(proof.size) is int
    if not (whole and type(claimed) is bytes and type(proof.path) in (tuple, list)):
        return False
    if not _none_or_equal(root, claimed) or not records:
        return False
    if [record.offset for record in records] != list(range(first, proof.stop)):
        return False
    salts = [getattr(record, "salt", b"") for record in records]
    if len(set(map(len, salts))) > 1:
        return False
    leaves = record_leaf_hashes(records, b"".join(salts))
    return root_from_range(leaves, first, proof.size, proof.path) == claimed


def _none_or_equal(given: bytes | None, own: bytes) -> bool:
    return given is None or (type(given) is bytes and given == own)
