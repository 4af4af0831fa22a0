"""How long an auditor waits: a proof made, checked, and the hashing below both."""

from __future__ import annotations

import hashlib
import os
import random

from benchmarks import bare_sha256, logs, records
from merkql import Broker, Proof, Record
from merkql._core.leaf import record_leaf_hash
from merkql._core.sha256 import leaf_hashes


class Prove:
    """Inclusion proofs of random records of a long log; reading them is not timed."""

    count = 1_000_000
    per_call = 500
    toy = {"count": 20, "per_call": 5}

    def setup(self) -> None:
        self.broker = Broker.open(logs.log_of(self.count))
        self.partition = self.broker.topic(logs.TOPIC).partition(0)
        generator = random.Random(records.SEED)
        self.offsets = [generator.randrange(self.count) for _ in range(self.per_call)]
        self.proofs: list[Proof] = [self.partition.proof(offset) for offset in self.offsets]
        self.records: list[Record] = [self.partition.read(offset) for offset in self.offsets]

    def time_made(self) -> None:
        prove = self.partition.proof
        for offset in self.offsets:
            prove(offset)

    def time_verified(self) -> None:
        for proof, record in zip(self.proofs, self.records, strict=True):
            assert proof.verify(record), f"the proof of offset {record.offset} does not hold"

    def time_verified_by_proof_py(self) -> None:
        for proof, record in zip(self.proofs, self.records, strict=True):
            proof.check(record)

    def time_made_and_verified(self) -> None:
        prove = self.partition.proof
        for offset, record in zip(self.offsets, self.records, strict=True):
            assert prove(offset).verify(record), f"the proof of offset {offset} does not hold"

    def teardown(self) -> None:
        self.broker.close()


class ProveRange:
    """One proof for ten thousand neighbours of a long log, beside hashing their records."""

    count = 1_000_000
    range_count = 10_000
    per_call = 5
    toy = {"count": 20, "range_count": 5, "per_call": 2}

    def setup(self) -> None:
        self.broker = Broker.open(logs.log_of(self.count))
        self.partition = self.broker.topic(logs.TOPIC).partition(0)
        last = self.count - self.range_count
        generator = random.Random(records.SEED)
        self.first = [generator.randrange(last) for _ in range(self.per_call)]
        self.proof = self.partition.prove_range(last, self.count)
        self.records = self.partition.read_range(last, self.count)

    def time_made(self) -> None:
        for first in self.first:
            self.partition.prove_range(first, first + self.range_count)

    def time_hashed(self) -> None:
        """Digest and leaf of each record, in the core: what a range proof must not come near."""
        for record in self.records * self.per_call:
            record_leaf_hash(
                record.offset, record.timestamp_ms, record.key, record.value, record.headers
            )

    def time_verified(self) -> None:
        for _ in range(self.per_call):
            assert self.proof.verify(self.records)

    def time_verified_by_proof_py(self) -> None:
        for _ in range(self.per_call):
            self.proof.check(self.records)

    def teardown(self) -> None:
        self.broker.close()


class HashLeaves:
    """SHA-256 of 49-byte entries: the core's many at a time, or one call of hashlib each.

    And bare blocks, as many, with nothing around them: the limit.
    """

    params = ["merkql", "hashlib", *(["bare streams"] if bare_sha256.is_available() else [])]
    param_names = ["library"]
    per_call = 1000
    toy = {"per_call": 10}
    ENTRY_BYTES = 49

    def setup(self, library: str) -> None:
        self.entries = os.urandom(self.ENTRY_BYTES * self.per_call)
        if library == "bare streams":
            self.bare_streams = bare_sha256.bare_streams()
            self.blocks = os.urandom(bare_sha256.BLOCK_BYTES * self.per_call)

    def time_leaf_hashes(self, library: str) -> None:
        if library == "merkql":
            leaf_hashes(self.entries)
            return
        if library == "bare streams":
            self.bare_streams(self.blocks, self.per_call)
            return
        sha256, size = hashlib.sha256, self.ENTRY_BYTES
        for position in range(0, len(self.entries), size):
            sha256(b"\0" + self.entries[position : position + size]).digest()
