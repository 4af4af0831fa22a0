"""The entry of one record out of a batch, for a proof: found without a checksum, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from merkql import Broker, CorruptionError
from merkql._core.accumulator import RecordAccumulator
from merkql._core.batch_encoder import EncodedBatches, encode
from merkql._core.batch_leaves import entry_at
from support import naive_batch
from support.naive_batch import NaiveRecord

FIRST = 40
RECORDS = [NaiveRecord(b"k%d" % i, b"v" * i * 7, (("h", None),), 1000 + i) for i in range(30)]


def batch(compression: str = "none") -> EncodedBatches:
    accumulator = RecordAccumulator(0)
    for record in RECORDS:
        accumulator.add(record.key, record.value, record.headers, record.timestamp_ms)
    return encode([accumulator], FIRST, compression=compression)


@pytest.mark.parametrize("compression", ["none", "lz4"])
@pytest.mark.parametrize("salt", [b"", bytes(range(16))])
def test_each_record_is_found(compression: str, salt: bytes) -> None:
    data = bytes(batch(compression).data)
    for offset, record in enumerate(RECORDS, FIRST):
        found = entry_at(data + b"more", FIRST, offset, salt)
        assert found is not None
        entry, leaf = found
        assert entry[:9] == b"\1" + offset.to_bytes(8, "big")
        assert entry[17:] == naive_batch.record_digest(record, salt)
        assert leaf == naive_batch.leaf_hash(record, offset, salt)


def test_the_bytes_need_not_go_further_than_the_record() -> None:
    data = bytes(batch().data)
    for index in (0, 7, 29):
        ends = [end for end in range(len(data) + 1) if entry_at(data[:end], FIRST, FIRST + index)]
        assert ends == list(range(ends[0], len(data) + 1)), "found in less, and not in more"
        assert ends[0] <= len(data) * (index + 1) // 30
    packed = bytes(batch("lz4").data)
    assert not any(entry_at(packed[:end], FIRST, FIRST) for end in range(len(packed)))


def test_what_is_not_there_is_not_found() -> None:
    data = bytes(batch().data)
    for offset in (0, FIRST - 1, FIRST + 30, FIRST + (1 << 40)):
        assert entry_at(data, FIRST, offset) is None
    assert entry_at(data, FIRST - 1, FIRST) is None
    control = bytearray(data)
    control[22] |= 0x20
    for other in (b"", bytes(61), bytes(1 << 16), bytes(control), b"\xff" * 200):
        assert entry_at(other, FIRST, FIRST) is None
    with pytest.raises(ValueError, match="salt"):
        entry_at(data, FIRST, FIRST, b"short")


def test_any_changed_byte_gives_none_or_another_leaf() -> None:
    """But for the header's fields that no record depends on."""
    data = bytes(batch().data)
    sound = entry_at(data, FIRST, FIRST + 3)
    assert sound is not None
    for place in range(61, len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x55
        found = entry_at(bytes(changed), FIRST, FIRST + 3)
        assert found is None or found[1] != sound[1] or found == sound


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    return Broker.open(tmp_path / "data")


def test_proofs_of_records_of_very_unlike_sizes(broker: Broker) -> None:
    with broker:
        sizes = [9000, 5000, 1, 1, 1, 7000, 0, 15000, 3, 40000, 2]
        broker.producer().send_values("events", [b"x" * size for size in sizes * 30])
        partition = broker.topic("events").partition(0)
        for offset in range(330):
            record = partition.read(offset)
            assert partition.proof(offset).verify(record, partition.root())
            past = partition.proof(offset, offset + 1)
            assert past.verify(record, partition.root(offset + 1))


def test_a_damaged_record_is_named_and_not_proved(tmp_path: Path) -> None:
    with Broker.open(tmp_path / "data") as broker:
        broker.producer().send_values("events", [b"value %d" % i for i in range(50)])
    (segment,) = (tmp_path / "data").glob("topics/events/0/*.log")
    content = bytearray(segment.read_bytes())
    content[content.index(b"value 31") + 2] ^= 1
    segment.write_bytes(content)
    with Broker.open(tmp_path / "data") as broker:
        partition = broker.topic("events").partition(0)
        with pytest.raises(CorruptionError, match="checksum") as caught:
            partition.proof(31)
        assert caught.value.path == str(segment)


def test_a_tree_that_grows_is_proved_from_its_top_each_time(broker: Broker) -> None:
    """Past the sizes at which the upper part is first kept in memory, and again and again."""
    with broker:
        producer = broker.producer()
        for _ in range(6):
            producer.send_values("events", [b"%d" % i for i in range(150)])
            partition = broker.topic("events").partition(0)
            end = partition.end_offset
            for size in (end, end - 1, end // 2):
                for offset in (0, size // 3, size - 1):
                    proof = partition.proof(offset, size)
                    assert proof.verify(partition.read(offset), partition.root(size))
