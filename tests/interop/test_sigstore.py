"""sigstore's own checks of Rekor, widely deployed: they accept our inclusion proofs and notes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from merkql import Broker
from merkql.proof import parse_checkpoint
from support import evidence
from support.evidence import ENTRIES, SIZE, TREE, note

merkle = pytest.importorskip("sigstore._internal.merkle", reason="sigstore is not installed")
checkpoint = pytest.importorskip("sigstore._internal.rekor.checkpoint")

pytestmark = pytest.mark.interop


def entry(index: int, size: int, path: list[bytes]) -> Any:
    """What sigstore has of an entry of Rekor's, as far as its check looks."""
    proof = SimpleNamespace(
        log_index=index, tree_size=size, hashes=path, root_hash=TREE.root(0, size)
    )
    inner = SimpleNamespace(inclusion_proof=proof, canonicalized_body=ENTRIES[index])
    return SimpleNamespace(_inner=inner)


def test_it_accepts_every_inclusion_proof_of_small_trees() -> None:
    for size in range(1, SIZE + 1):
        for index in range(size):
            path = TREE.inclusion(index, 0, size)
            merkle.verify_merkle_inclusion(entry(index, size, path))
            if path:
                with pytest.raises(Exception, match="inclusion proof"):
                    merkle.verify_merkle_inclusion(entry(index, size, path[:-1]))
                with pytest.raises(Exception, match="inclusion proof"):
                    merkle.verify_merkle_inclusion(entry(index, size, [*path[:-1], bytes(32)]))


def test_it_accepts_the_proofs_of_a_log_on_disk() -> None:
    with Broker.temporary() as broker:
        broker.producer().send_values("audit", [f"entry {number}" for number in range(100)])
        partition = broker.topic("audit").partition(0)
        for index in (0, 41, 99):
            proof = partition.proof(index)
            made = entry(0, 1, list(proof.path))
            made._inner.canonicalized_body = proof.entry
            made._inner.inclusion_proof.__dict__.update(
                log_index=index, tree_size=100, root_hash=partition.root()
            )
            merkle.verify_merkle_inclusion(made)


def test_it_reads_our_checkpoints_as_we_do() -> None:
    read = checkpoint.SignedCheckpoint.from_text(note())
    ours = parse_checkpoint(note())
    assert read.checkpoint.origin == ours.origin == evidence.ORIGIN
    assert read.checkpoint.log_size == ours.size
    assert read.checkpoint.log_hash == ours.root.hex()
    names = [signature.name for signature in read.signed_note.signatures]
    assert names == [evidence.ORIGIN, evidence.WITNESS]
    ids = [signature.sig_hash for signature in read.signed_note.signatures]
    assert ids == [signer.id for signer in evidence.signers()]
