"""The checkers of the Rust merkql (total order, durability, exactly once, integrity, fidelity).

Each closes the gap its original leaves: real kills for clean drops, phases that are not empty,
readers in another process, bytes that are bytes, records that are tampered with.
"""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from merkql import (
    Broker,
    CorruptionError,
    OffsetOutOfRangeError,
    Partition,
    ProducerRecord,
    Record,
    RetentionConfig,
)
from support import children

MILLION = 1_000_000
MILLION_BEGINS_MS = 1_700_000_000_000

WRITER = """
import sys
from merkql import Broker
with Broker.open(sys.argv[1]) as broker:
    producer = broker.producer()
    for i in range(int(sys.argv[2]), 1 << 30):
        metadata = producer.send("t", b"v%d" % i, partition=0)
        print(metadata.offset, flush=True)
"""

READER = """
import sys
from merkql import Broker
with Broker.open(sys.argv[1], read_only=True) as broker:
    partition = broker.topic("t").partition(0)
    for line in sys.stdin:
        print(partition.read(int(line)).value.decode(), flush=True)
"""


def values_of(broker: Broker, topic: str, partition: int) -> list[bytes | None]:
    one = broker.topic(topic).partition(partition)
    return [record.value for record in one.read_range(one.start_offset, one.end_offset)]


def test_total_order() -> None:
    """10,000 records over 4 partitions: each dense from 0, each record where its metadata says."""
    with Broker.temporary(default_partitions=4) as broker:
        records = [ProducerRecord("t", b"v%d" % i, b"k%d" % (i % 97)) for i in range(10_000)]
        places = broker.producer().send_batch(records)
        for index in range(4):
            offsets = [m.offset for m in places if m.partition == index]
            assert offsets == list(range(len(offsets)))
            wanted = [r.value for r, m in zip(records, places, strict=True) if m.partition == index]
            assert values_of(broker, "t", index) == wanted


def test_durability_across_kills(tmp_path: Path) -> None:
    """Ten times a writer is killed with SIGKILL while it writes; what it said is there."""
    acknowledged = 0
    for cycle in range(10):
        with children.start(WRITER, tmp_path, acknowledged) as child:
            assert child.stdout is not None
            for _ in range(60 + cycle):
                acknowledged = int(child.stdout.readline()) + 1
            child.kill()
            rest = child.stdout.read().splitlines()
        if rest:
            acknowledged = int(rest[-1]) + 1
        with Broker.open(tmp_path) as broker:
            values = values_of(broker, "t", 0)
            broker.topic("t").partition(0).verify()
        # One more may have become durable than could be said.
        assert values == [b"v%d" % i for i in range(len(values))]
        assert acknowledged <= len(values) <= acknowledged + 1
        acknowledged = len(values)


def test_exactly_once_over_phases_that_all_have_work() -> None:
    """Four members one after the other, 250 records each: together all, each once."""
    with Broker.temporary() as broker:
        broker.producer().send_values("t", [b"%d" % i for i in range(1000)])
        seen: list[bytes | None] = []
        for _ in range(4):
            with broker.consumer("g", auto_commit=False) as consumer:
                consumer.subscribe(["t"])
                phase = [record.value for record in consumer.poll(max_records=250)]
                consumer.commit_sync()
            assert len(phase) == 250
            seen += phase
        assert seen == [b"%d" % i for i in range(1000)]


def test_every_record_has_a_proof_and_no_other_has_it() -> None:
    """10,000 over 4 partitions; a forged value, key, header, time or offset is refused."""
    with Broker.temporary(default_partitions=4) as broker:
        records = [ProducerRecord("t", b"v%d" % i, headers=[("h", b"x")]) for i in range(10_000)]
        broker.producer().send_batch(records)
        for partition in broker.topic("t").partitions():
            root = partition.root()
            for record in partition.read_range(0, partition.end_offset):
                proof = partition.proof(record.offset)
                assert proof.verify(record, root)
                if record.offset % 100 == 0:
                    assert not any(proof.verify(forged, root) for forged in forgeries(record))


def forgeries(record: Record) -> list[Record]:
    place = (record.topic, record.partition, record.offset, record.timestamp_ms)
    later = (*place[:3], record.timestamp_ms + 1)
    moved = (*place[:2], record.offset + 1, record.timestamp_ms)
    assert record.value is not None
    return [
        Record(*place, record.key, record.value + b"!", record.headers),
        Record(*place, b"", record.value, record.headers),
        Record(*place, record.key, record.value, (("h", b"y"),)),
        Record(*place, record.key, record.value, ()),
        Record(*later, record.key, record.value, record.headers),
        Record(*moved, record.key, record.value, record.headers),
    ]


def test_no_data_loss_seen_from_another_process(tmp_path: Path) -> None:
    """Each record is read in another process as soon as its send has returned."""
    with Broker.open(tmp_path) as broker:
        broker.create_topic("t")
        with children.start(READER, tmp_path) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            for i in range(300):
                metadata = broker.producer().send("t", f"value {i}")
                child.stdin.write(f"{metadata.offset}\n")
                child.stdin.flush()
                assert child.stdout.readline() == f"value {i}\n"
            child.stdin.close()
            child.wait(30)


BOUNDARIES = [
    size + step for size in (1, 32, 64, 128, 256, 512, 1024, 4096, 65536) for step in (-1, 0, 1)
]
UNICODE = ["", "é", "日本語", "🏳️\u200d🌈", "a\u0301", "\u202eabc", "\ufeff", "\r\n", "\0"]


def test_byte_fidelity() -> None:
    """Sizes around every boundary, text, NULs, bytes that are no text, empty and null."""
    draw = random.Random(0xDEADBEEF)
    values: list[bytes | None] = [draw.randbytes(size) for size in BOUNDARIES]
    values += [bytes(size) for size in BOUNDARIES]
    values += [text.encode() for text in UNICODE]
    values += [b"", None, bytes(range(256)), b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80"]
    values += [draw.randbytes(draw.randrange(65_536)) for _ in range(300)]
    with Broker.temporary() as broker:
        broker.create_topic("plain")
        broker.create_topic("packed", compression="lz4")
        for topic in ("plain", "packed"):
            broker.producer().send_values(topic, values, keys=list(reversed(values)))
            records = broker.topic(topic).partition(0).read_range(0, len(values))
            assert [record.value for record in records] == values
            assert [record.key for record in records] == list(reversed(values))


def test_identical_records_have_identical_roots() -> None:
    """Two topics, both filled, same times: the tree depends on the records and nothing else."""
    with Broker.temporary() as broker:
        broker.create_topic("a", compression="lz4")
        broker.create_topic("b", segment_bytes=4096)
        for topic in ("a", "b"):
            for i in range(30):
                broker.producer().send(topic, b"v%d" % i * 50, key=b"k", timestamp_ms=1000 + i)
        roots = {broker.topic(topic).partition(0).root() for topic in ("a", "b")}
        assert len(roots) == 1


def test_tampered_bytes_are_refused_and_the_old_proof_tells_a_forgery(tmp_path: Path) -> None:
    """One byte of a record's text is changed on disk, with its checksum made right again."""
    from merkql._core.crc32c import crc32c

    with Broker.open(tmp_path) as broker:
        broker.producer().send("t", b"pay 100 to alice")
        partition = broker.topic("t").partition(0)
        proof, root = partition.proof(0), partition.root()
    segment = tmp_path / "topics/t/0/00000000000000000000.log"
    content = bytearray(segment.read_bytes())
    at = content.index(b"100")
    content[at : at + 3] = b"900"
    segment.write_bytes(content)
    with Broker.open(tmp_path) as broker, pytest.raises(CorruptionError, match="at byte 0"):
        broker.topic("t").partition(0).read(0)
    content[17:21] = crc32c(bytes(content[21:])).to_bytes(4, "big")
    segment.write_bytes(content)
    with Broker.open(tmp_path) as broker:
        partition = broker.topic("t").partition(0)
        forged = partition.read(0)
        assert forged.value == b"pay 900 to alice"
        assert not proof.verify(forged, root)
        with pytest.raises(CorruptionError):
            partition.verify()
        with pytest.raises(CorruptionError):
            partition.proof(0)


def test_root_progression() -> None:
    with Broker.temporary() as broker:
        roots = []
        for _ in range(8):
            broker.producer().send("t", b"same", timestamp_ms=1)
            roots.append(broker.topic("t").partition(0).root())
        partition = broker.topic("t").partition(0)
        assert len(set(roots)) == 8
        assert [partition.root(size) for size in range(1, 9)] == roots


def test_eight_threads_to_one_partition_leave_no_gap() -> None:
    with Broker.temporary() as broker:
        producer = broker.producer()
        broker.create_topic("t")
        taken: list[int] = []

        def work(number: int) -> None:
            mine = [producer.send("t", b"%d/%d" % (number, i)).offset for i in range(500)]
            assert mine == sorted(mine)
            taken.extend(mine)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == list(range(4000))
        assert len(set(values_of(broker, "t", 0))) == 4000
        broker.topic("t").partition(0).verify()


def test_proofs_roots_and_verification_hold_while_records_are_written() -> None:
    """Four threads prove, against roots past and present, and verify, beside a writer."""
    with Broker.temporary() as broker:
        producer = broker.producer()
        broker.create_topic("t", segment_bytes=1 << 16)
        producer.send_values("t", [b"%d" % i for i in range(100)], partition=0)
        partition = broker.topic("t").partition(0)
        roots = {100: partition.root()}
        wrong: list[str] = []
        done = threading.Event()
        rounds = [0] * 4

        def look(number: int) -> None:
            draw = random.Random(number)
            while not done.is_set():
                size = draw.choice(list(roots))
                if partition.root(size) != roots[size]:
                    wrong.append(f"another root at {size}")
                offset = draw.randrange(size)
                record = partition.read(offset)
                if not partition.proof(offset, size).verify(record, roots[size]):
                    wrong.append(f"no proof of {offset} in {size}")
                if number == 0:
                    partition.verify()
                rounds[number] += 1

        threads = [threading.Thread(target=look, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for i in range(1500):
            end = producer.send("t", b"more %d" % i * 20, partition=0).offset + 1
            if i % 7 == 0:
                roots[end] = partition.root(end)
        while min(rounds) < 20:
            producer.send("t", b"on")
        done.set()
        for thread in threads:
            thread.join()
        assert not wrong, wrong[:5]


def test_readers_agree() -> None:
    with Broker.temporary() as broker:
        broker.producer().send_values("t", [b"%d" % i for i in range(1000)], partition=0)
        seen: list[list[bytes | None]] = []
        threads = [
            threading.Thread(target=lambda: seen.append(values_of(broker, "t", 0)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [[b"%d" % i for i in range(1000)]] * 8


def test_disk_usage(tmp_path: Path) -> None:
    """10,000 records of 100 bytes: their bytes, 34 of tree, a few of framing; less with LZ4."""
    with Broker.open(tmp_path) as broker:
        broker.create_topic("plain")
        broker.create_topic("packed", compression="lz4")
        for topic in ("plain", "packed"):
            broker.producer().send_values(
                topic, [b"%d" % i + b"x" * 96 for i in range(10_000)], partition=0
            )
    plain, packed = (
        sum(path.stat().st_blocks * 512 for path in (tmp_path / "topics" / topic).rglob("*"))
        for topic in ("plain", "packed")
    )
    assert plain < 10_000 * 160
    assert packed < plain / 2


def test_reopening_does_not_depend_on_the_length(tmp_path: Path) -> None:
    """50,000 records: after a clean close no record is read to open, whatever there is."""
    with Broker.open(tmp_path) as broker:
        for _ in range(50):
            broker.producer().send_values("t", [b"x" * 20] * 1000, partition=0)
    segment = tmp_path / "topics/t/0/00000000000000000000.log"
    content = segment.read_bytes()
    segment.write_bytes(bytes(len(content)))  # were it read, this would be seen
    with Broker.open(tmp_path) as broker:
        assert broker.topic("t").partition(0).end_offset == 50_000


def number_in(record: Record) -> int:
    """Which of the million it is: each value says so, and so does its time."""
    number = int(record.value or b"")
    assert (record.key, record.timestamp_ms) == (b"%d" % number, MILLION_BEGINS_MS + number)
    return number


def places_of_a_million(
    partitions: list[Partition], offsets: list[int]
) -> tuple[list[int], list[list[int]]]:
    """The partition of each number, and the numbers of each partition: all there, in order."""
    homes = [-1] * MILLION
    numbers_of: list[list[int]] = [[] for _ in partitions]
    for home, partition in enumerate(partitions):
        for record in partition.read_range(0, partition.end_offset):
            number = number_in(record)
            assert record.offset == offsets[number] == len(numbers_of[home])
            numbers_of[home].append(number)
            homes[number] = home
        assert numbers_of[home] == sorted(numbers_of[home])
    assert -1 not in homes
    return homes, numbers_of


@pytest.mark.slow
def test_a_million_records(tmp_path: Path) -> None:
    """Order over 4 partitions, offsets as they were returned, depth of proofs, reads and proofs
    after a reopening at each 99,991st, ten consuming phases that give each record once, in order,
    and a retention of 10,000 that survives another reopening."""
    offsets: list[int] = []  # by number
    with Broker.open(tmp_path, default_partitions=4) as broker:
        producer = broker.producer()
        for first in range(0, MILLION, 10_000):
            numbers = range(first, first + 10_000)
            values = [b"%d" % i for i in numbers]
            times = [MILLION_BEGINS_MS + i for i in numbers]
            offsets += producer.send_values("t", values, keys=values, timestamps_ms=times)
        partitions = broker.topic("t").partitions()
        ends = [partition.end_offset for partition in partitions]
        assert sum(ends) == MILLION
        homes, numbers_of = places_of_a_million(partitions, offsets)
        roots = [partition.root() for partition in partitions]
        for partition, root in zip(partitions, roots, strict=True):
            for offset in (0, partition.end_offset // 2, partition.end_offset - 1):
                proof = partition.proof(offset)
                assert len(proof.path) <= 20
                assert proof.verify(partition.read(offset), root)
    with Broker.open(tmp_path) as broker:
        partitions = broker.topic("t").partitions()
        assert [p.end_offset for p in partitions] == ends
        assert [p.root() for p in partitions] == roots
        for number in range(0, MILLION, 99_991):
            partition, root = partitions[homes[number]], roots[homes[number]]
            record = partition.read(offsets[number])
            assert number_in(record) == number
            assert partition.proof(offsets[number]).verify(record, root)
        read = [0, 0, 0, 0]
        for _ in range(10):
            with broker.consumer("g", auto_commit=False, fetch_max_bytes=1 << 24) as consumer:
                consumer.subscribe(["t"])
                phase = 0
                while phase < MILLION // 10:
                    records = consumer.poll(max_records=MILLION // 10 - phase)
                    assert records, "the records end too soon"
                    for record in records:
                        home = record.partition
                        assert record.offset == read[home]
                        assert number_in(record) == numbers_of[home][record.offset]
                        read[home] += 1
                    phase += len(records)
                consumer.commit_sync()
        assert read == ends
        broker.topic("t").alter(retention=RetentionConfig(max_records=10_000))
        broker.apply_retention()
    with Broker.open(tmp_path) as broker:
        for partition, end, root in zip(broker.topic("t").partitions(), ends, roots, strict=True):
            assert (partition.start_offset, partition.end_offset) == (end - 10_000, end)
            with pytest.raises(OffsetOutOfRangeError):
                partition.read(end - 10_001)
            kept = partition.read_range(end - 10_000, end)
            wanted = numbers_of[partition.index][-10_000:]
            assert [number_in(record) for record in kept] == wanted
            assert partition.root() == root
            assert partition.proof(0).check_leaf(root) is None  # of a record that is gone
