"""The property cases of the Rust merkql, 2 to 5, in the form that their weaknesses ask for.

Case 1, random operations, is `test_model.py`. Binary here is binary, and every phase has work to
do. As many examples as the originals have in the nightly profile, a quarter of them otherwise.
"""

from __future__ import annotations

import random
import tempfile
from collections import defaultdict
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from merkql import Broker, ProducerRecord

compressions = st.sampled_from(["none", "lz4"])
seeds = st.integers(0, 1 << 32)
IS_NIGHTLY = settings().max_examples > 1000


def examples(count: int) -> settings:
    return settings(max_examples=count if IS_NIGHTLY else count // 4, deadline=None)


@examples(100)
@given(size=st.integers(1, 1 << 20), seed=seeds, compression=compressions, printable=st.booleans())
def test_payload_size_fidelity(size: int, seed: int, compression: str, printable: bool) -> None:
    """Case 2: values of 1 byte to 1 MiB, read by offset, in a range, by a poll, and proved."""
    chance = random.Random(seed)
    value = chance.randbytes(size)
    if printable:
        value = bytes(32 + byte % 95 for byte in value)
    with Broker.temporary(compression=compression) as broker:
        sent = broker.producer().send("t", value)
        broker.producer().send("t", b"behind it")
        partition = broker.topic("t").partition(0)
        assert partition.read(sent.offset).value == value
        assert [record.value for record in partition.read_range(0, 2)] == [value, b"behind it"]
        with broker.consumer("g") as consumer:
            consumer.subscribe(["t"])
            polled = consumer.poll()
            polled += consumer.poll()
        assert [record.value for record in polled] == [value, b"behind it"]
        assert partition.proof(0).verify(polled[0], partition.root())
        assert not partition.proof(0).verify(polled[1], partition.root())


@examples(50)
@given(
    topics=st.integers(1, 5),
    partitions=st.integers(1, 8),
    count=st.integers(10, 200),
    batch=st.integers(1, 60),
    seed=seeds,
)
def test_multi_topic_partition(
    topics: int, partitions: int, count: int, batch: int, seed: int
) -> None:
    """Case 3: 1 to 5 topics of 1 to 8 partitions: order, places, and a proof for each record."""
    chance = random.Random(seed)
    wanted: dict[tuple[str, int], list[bytes]] = defaultdict(list)
    with Broker.temporary() as broker:
        for number in range(topics):
            broker.create_topic(f"t{number}", partitions=partitions)
        producer = broker.producer()
        for first in range(0, count, batch):
            records = [
                ProducerRecord(
                    f"t{chance.randrange(topics)}",
                    b"%d" % number,
                    partition=chance.randrange(partitions),
                )
                for number in range(first, min(first + batch, count))
            ]
            for record, place in zip(records, producer.send_batch(records), strict=True):
                where = wanted[record.topic, record.partition or 0]
                assert (place.topic, place.partition) == (record.topic, record.partition)
                assert place.offset == len(where)
                assert record.value is not None
                where.append(record.value)
        for topic in broker.topics():
            for partition in broker.topic(topic).partitions():
                values = wanted[topic, partition.index]
                assert partition.end_offset == len(values)
                kept = partition.read_range(0, len(values))
                assert [record.value for record in kept] == values
                root = partition.root()
                for record in kept:
                    assert partition.proof(record.offset).verify(record, root)


@examples(50)
@given(
    count=st.integers(50, 500),
    phases=st.integers(2, 6),
    partitions=st.integers(1, 4),
    reopens=st.lists(st.booleans(), min_size=6, max_size=6),
    seed=seeds,
)
def test_multi_phase_exactly_once(
    count: int, phases: int, partitions: int, reopens: list[bool], seed: int
) -> None:
    """Case 4: each phase reads some, commits, and may close everything; more comes in between.

    Each record is handed out once, in order, and no phase is without work.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=fast_directory()) as root:
        broker = Broker.open(root, default_partitions=partitions, default_durability="disk")
        broker.create_topic("t")
        written = 0
        seen: list[list[int]] = [[] for _ in range(partitions)]
        for phase in range(phases):
            share = count // phases if phase < phases - 1 else count - written
            records = [
                ProducerRecord("t", b"%d" % number, partition=chance.randrange(partitions))
                for number in range(written, written + share)
            ]
            broker.producer().send_batch(records)
            written += share
            is_last = phase == phases - 1
            there = written - sum(map(len, seen))
            left = there if is_last else chance.randint(1, there)
            with broker.consumer("g", auto_commit=False) as consumer:
                consumer.subscribe(["t"])
                while left:
                    records_read = consumer.poll(1, max_records=chance.randint(1, left))
                    assert records_read, "committed records were passed over"
                    for record in records_read:
                        assert record.offset == len(seen[record.partition])
                        seen[record.partition].append(int(record.value or b""))
                    left -= len(records_read)
                if is_last:
                    assert consumer.poll() == []
                consumer.commit_sync()
            if reopens[phase]:
                broker.close()
                broker = Broker.open(root)
        broker.close()
        assert sorted(number for one in seen for number in one) == list(range(count))
        assert all(one == sorted(one) for one in seen)


@examples(100)
@given(
    sizes=st.lists(st.integers(0, 64 << 10), min_size=1, max_size=4),
    seed=seeds,
    compression=compressions,
)
def test_binary_payload(sizes: list[int], seed: int, compression: str) -> None:
    """Case 5: any bytes up to 64 KiB, as value, key and header; among them none that is text."""
    chance = random.Random(seed)
    sent = []
    with Broker.temporary(compression=compression) as broker:
        for size in sizes:
            value = chance.randbytes(size) + b"\xff\xfe\x00"
            key, header = chance.randbytes(chance.randrange(300)), chance.randbytes(50)
            sent.append((value, key, (("h", header), ("none", None))))
            broker.producer().send("t", value, key=key, headers=sent[-1][2])
        partition = broker.topic("t").partition(0)
        kept = partition.read_range(0, len(sizes))
        assert [(one.value, one.key, one.headers) for one in kept] == sent
        for record in kept:
            assert partition.read(record.offset) == record
            assert partition.proof(record.offset).verify(record, partition.root())


def fast_directory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
