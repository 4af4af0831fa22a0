"""An audit log that somebody else can check, and what happens to one who edits it.

    python examples/audit_trail.py [DIRECTORY]

Shows inclusion proofs, consistency of an older root with a newer one, and the two ways an edit
comes to light: on the disk, when the record is read; anywhere else, when its proof is checked.
Expects a directory that holds no earlier run.
"""

from __future__ import annotations

import interrupts  # noqa: F401 - first, so that Ctrl-C finds it whenever it comes

# isort: split
import json
from pathlib import Path

from merkql import Broker, CorruptionError, Partition, ProducerRecord, Record
from program import run

TOPIC = "audit"
USERS = ["alice", "bob", "carol", "dave", "erin"]
ACTIONS = ["CREATE", "READ", "UPDATE", "DELETE", "EXPORT"]
RESOURCES = ["orders", "invoices", "accounts", "reports", "settings"]
PROVED = [0, 10, 25, 37, 49]


def main(directory: Path) -> None:
    with Broker.open(directory) as broker:
        broker.create_topic(TOPIC, partitions=1)
        producer = broker.producer()
        producer.send_batch([event(i) for i in range(50)])
        partition = broker.topic(TOPIC).partition(0)

        proofs = [partition.proof(offset) for offset in PROVED]
        old_root = partition.root()
        print(f"  Recorded 50 events. Root: {old_root.hex()}")
        for offset, proof in zip(PROVED, proofs, strict=True):
            valid = proof.verify(partition.read(offset), root=old_root)
            print(f"  Proof for offset {offset}: depth={len(proof.path)}, valid={valid}")

        producer.send_batch([event(i) for i in range(50, 60)])
        new_root = partition.root()
        print(f"  Recorded 10 more. Root changed: {new_root != old_root}")
        valid_count = sum(
            proof.verify(partition.read(offset), root=old_root)
            for offset, proof in zip(PROVED, proofs, strict=True)
        )
        print(f"  Old proofs that still verify: {valid_count} of {len(proofs)}")
        consistent = partition.consistency_proof(50).verify(old_root, new_root)
        print(f"  The 60 events begin with the 50 of the old root: {consistent}")

        record = partition.read(10)
        print(f"  Record 10: {describe(record)}")
        forge(partition, record, old_root)

    refusal = tamper(directory, record)
    print("  Tampering with one byte of the file:")
    print(f"  Reading refuses: {refusal}")
    print("  Summary:")
    print("  60 events recorded, 5 proofs checked against a root kept apart from the log")
    print("  the log grew and every older proof still holds")
    print("  a forged record fails its proof (forgery DETECTED)")
    print("  an edited file is refused, never served (tamper DETECTED)")


def event(i: int) -> ProducerRecord:
    user = USERS[i % 5]
    fields = {"user": user, "action": ACTIONS[i % 5], "resource": RESOURCES[3 * i % 5]}
    seconds = 1_700_000_000 + i
    value = json.dumps({**fields, "ts": seconds})
    return ProducerRecord(TOPIC, value, key=user, timestamp_ms=seconds * 1000)


def describe(record: Record) -> str:
    fields = json.loads(record.value or b"")
    return f"user={fields['user']}, action={fields['action']}"


def forge(partition: Partition, record: Record, root: bytes) -> None:
    """Offer an auditor, who kept the root of 50 events, an edited record with its true proof."""
    assert record.value is not None
    forged = Record(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp_ms,
        record.key,
        record.value.replace(b"alice", b"mallo"),
        record.headers,
    )
    proof = partition.proof(record.offset, size=50)
    print(f"  The true record against its proof: valid={proof.verify(record, root=root)}")
    print(f"  A forged one ({describe(forged)}): valid={proof.verify(forged, root=root)}")


def tamper(directory: Path, record: Record) -> str:
    """Flip one bit of `record` on the disk and read it; the bit is put back afterwards."""
    assert record.value is not None
    (segment,) = directory.glob(f"topics/{TOPIC}/0/*.log")
    original = segment.read_bytes()
    edited = bytearray(original)
    edited[original.index(record.value)] ^= 1
    segment.write_bytes(edited)
    try:
        with Broker.open(directory) as broker:
            served = broker.topic(TOPIC).partition(0).read(record.offset)
            return f"no, it served {served!r}"
    except CorruptionError as error:
        return f"CorruptionError: {error}"
    finally:
        segment.write_bytes(original)


if __name__ == "__main__":
    run(main)
