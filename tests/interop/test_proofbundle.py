"""proofbundle reads our proof files whole: signature, witnesses, inclusion; and we read its."""

from __future__ import annotations

from dataclasses import replace

import pytest

from merkql import Broker
from merkql.proof import ProofError, judge, roots_from_consistency
from merkql.proofs import Proof, record_to_json
from support import evidence
from support.evidence import ENTRIES, LEAVES, PROOF, RECORDS, ROOT, SIZE, TREE, note

tlogproof = pytest.importorskip("proofbundle.tlogproof", reason="proofbundle is not installed")
checkpoints = pytest.importorskip("proofbundle.checkpoint")
merkle = pytest.importorskip("proofbundle.merkle")

pytestmark = pytest.mark.interop
LOG, WITNESS = (signer.key for signer in evidence.signers())


def proof_of(index: int, size: int = SIZE) -> Proof:
    path = tuple(TREE.inclusion(index, 0, size))
    return Proof(index, size, LEAVES[index], path, TREE.root(0, size), ENTRIES[index])


def test_it_accepts_our_proof_files_with_a_quorum_of_witnesses() -> None:
    for size in (1, 2, 7, 8, SIZE):
        for index in range(size):
            text = proof_of(index, size).to_tlog_proof(note(size, TREE.root(0, size)))
            verdict = tlogproof.verify_tlog_proof(
                text, ENTRIES[index], LOG, [WITNESS], threshold=1, expected_origin=evidence.ORIGIN
            )
            assert verdict["ok"], verdict
            assert (verdict["index"], verdict["tree_size"]) == (index, size)


def test_it_refuses_what_we_refuse() -> None:
    text = PROOF.to_tlog_proof(note())
    for leaf, log, witness in (
        (ENTRIES[5], LOG, WITNESS),
        (ENTRIES[6], WITNESS, WITNESS),
        (ENTRIES[6], LOG, LOG),
    ):
        verdict = tlogproof.verify_tlog_proof(text, leaf, log, [witness], threshold=1)
        assert not verdict["ok"]
    path = (*PROOF.path[1:], PROOF.path[0])
    swapped = replace(PROOF, path=path).to_tlog_proof(note())
    assert not tlogproof.verify_tlog_proof(swapped, ENTRIES[6], LOG)["ok"]


def test_it_accepts_our_consistency_proofs() -> None:
    for new in range(1, SIZE + 1):
        for old in range(1, new + 1):
            path, roots = TREE.consistency(0, old, new), (TREE.root(0, old), TREE.root(0, new))
            assert roots_from_consistency(old, new, roots[0], path) == roots
            assert merkle.verify_consistency(old, new, path, *roots) is True


def test_its_checkpoints_paths_and_cosignatures_pass_ours() -> None:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    log, witness = (ed25519.Ed25519PrivateKey.from_private_bytes(bytes([n] * 32)) for n in (1, 2))
    publics = [key.public_key().public_bytes_raw() for key in (log, witness)]
    keys = [
        checkpoints.vkey("other.example/log", publics[0]),
        checkpoints.cosign_vkey("other.example/w", publics[1]),
    ]
    signed = checkpoints.sign_checkpoint("other.example/log", SIZE, ROOT, log, "other.example/log")
    signed = checkpoints.cosign_checkpoint(signed, witness, "other.example/w", 1767225600)
    path = tuple(merkle.inclusion_proof(ENTRIES, 6))
    text = replace(PROOF, path=path).to_tlog_proof(signed)
    verdict = judge([text.encode(), record_to_json(RECORDS[6]).encode()], (), keys)
    said = "that records are of orders/2: no checkpoint here is"  # it is one of their log's
    assert verdict["not_shown"] == [said]
    assert "other.example/w at 2026-01-01T00:00:00Z" in verdict["proved"][1]
    moved = text.replace("other.example/log\n", "other.example/moved\n")
    assert moved != text
    with pytest.raises(ProofError, match="not that of its key"):
        judge([moved.encode()], (), keys)


def test_a_proof_from_a_log_on_disk() -> None:
    log, _ = evidence.signers()
    with Broker.temporary() as broker:
        broker.producer().send_values("audit", [f"entry {number}" for number in range(100)])
        partition = broker.topic("audit").partition(0)
        proof = partition.proof(42)
        assert proof.entry is not None
        text = proof.to_tlog_proof(note(100, partition.root()))
        assert tlogproof.verify_tlog_proof(text, proof.entry, log.key)["ok"]
