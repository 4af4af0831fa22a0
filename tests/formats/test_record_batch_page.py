"""The pages on record batches and on records: their worked examples are what the code writes."""

from __future__ import annotations

import hashlib
import random

from merkql._core.accumulator import RecordAccumulator
from merkql._core.record import Record
from merkql._core.record_batch import (
    decode,
    encode,
    entry,
    leaf_hashes,
    record_digest,
    record_leaf_hash,
    scan,
)
from support.pages import worked_example

TIME = 1_700_000_000_000
RECORDS = [
    Record("t", 0, 41, TIME, b"order-42", b'{"item":"widget"}', (("source", b"web"),)),
    Record("t", 0, 42, TIME + 250, None, b"no key", (("trace", None),)),
    Record("t", 0, 43, TIME - 1, b"order-41", None),
]
# Of all that test_a_few_hundred_encodings makes. If it changes, so did the format.
PINNED = "7e4d27a8451d9268de958eb13d76d2c0c54d9b874ad3b332a6d4d9002ebaffe7"


def accumulated(records: list[Record]) -> RecordAccumulator:
    accumulator = RecordAccumulator(0)
    for record in records:
        accumulator.add(record.key, record.value, record.headers, record.timestamp_ms)
    return accumulator


def test_batch_example_is_what_encode_writes() -> None:
    assert encode([accumulated(RECORDS)], 41).data == worked_example("kafka-record-batch")


def test_batch_example_reads_back() -> None:
    data = worked_example("kafka-record-batch")
    assert scan(data, 41).batches == [(41, 0, len(data), 3, TIME + 250)]
    result = decode(data, "t", 0, first_offset=41, stop_offset=100, max_records=100)
    assert result.records == RECORDS
    assert leaf_hashes(data) == b"".join(
        record_leaf_hash(r.offset, r.timestamp_ms, r.key, r.value, r.headers) for r in RECORDS
    )


def test_record_example_is_what_is_hashed() -> None:
    record = RECORDS[0]
    headers = (*record.headers, *RECORDS[1].headers)
    digest = record_digest(record.key, record.value, headers)
    assert digest == hashlib.sha256(worked_example("record", "message")).digest()
    assert entry(41, TIME, digest) == worked_example("record", "entry")
    leaf = record_leaf_hash(41, TIME, record.key, record.value, headers)
    assert leaf == worked_example("record", "leaf")
    assert leaf == hashlib.sha256(b"\0" + worked_example("record", "entry")).digest()


def test_a_few_hundred_encodings() -> None:
    draw = random.Random("record batches")
    everything = hashlib.sha256()
    for _ in range(300):
        accumulator = RecordAccumulator(draw.randrange(1 << 41))
        for _ in range(draw.randrange(1, 12)):
            key, value = (
                draw.choice([None, b"", draw.randbytes(draw.randrange(90))]) for _ in "kv"
            )
            headers = [
                (draw.choice("abé"), draw.choice([None, b"", b"header"]))
                for _ in range(draw.choice([0, 0, 1, 3]))
            ]
            time = draw.choice([None, -1, 0, 1 << 62, -(1 << 62), draw.randrange(1 << 41)])
            accumulator.add(key, value, headers, time)
        salts = draw.choice([None, draw.randbytes(16 * len(accumulator))])
        encoded = encode([accumulator], draw.randrange(1 << 48), batch_size_bytes=200, salts=salts)
        everything.update(encoded.data + encoded.leaf_hashes)
    assert everything.hexdigest() == PINNED
