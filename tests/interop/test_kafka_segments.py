"""Do Kafka's Python clients read our segment files, and does a broker take over theirs?

Goal: files as brokers leave them (rolled, trimmed, compacted) against the clients' MemoryRecords,
field for field, and the clients' batches as a partition that is read, proved and verified. Method:
the clients' own parsers and builders, no network; leaves and roots from the naive oracles.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from merkql import Broker, OffsetOutOfRangeError, ProducerRecord, RetentionConfig
from merkql.topic import Topic
from support import naive_batch
from support.naive_batch import CODECS, NaiveRecord
from support.naive_tree import NaiveTree

pytestmark = pytest.mark.interop
pytest.importorskip("kafka.record", reason="kafka-python is not installed")
pytest.importorskip("aiokafka.record", reason="aiokafka is not installed")

from support.kafka_clients import (  # noqa: E402
    AIOKAFKA,
    CONTROL,
    KAFKA,
    LOG_APPEND_TIME,
    TRANSACTIONAL,
    UNSUPPORTED,
    Client,
    batches_of,
    expected,
    fields,
    marked,
    theirs,
)

MIN, MAX = -(1 << 63), (1 << 63) - 1
NOW = 1_700_000_000_000
LARGE = 16 << 20
TIMES = [0, -1, 1, MIN, MAX, NOW, MAX, MIN, MIN + 1, -NOW, 0, MAX - 1, NOW + 1, NOW, -1, 0]
HEADERS: list[naive_batch.Headers] = [
    (),
    (("source", b"web"),),
    (("a", b"1"), ("a", b""), ("a", None)),
    (("", b"no name"), ("été", bytes(200))),
    tuple((f"h{number}", b"%d" % number) for number in range(70)),
]
clients = pytest.mark.parametrize("client", [KAFKA, AIOKAFKA], ids=lambda client: client.name)


@dataclass(frozen=True)
class Log:
    """One partition as its broker left it, and what was sent to it."""

    directory: Path
    first_offset: int
    records: list[NaiveRecord]
    segments_min: int


def varied(count: int, seed: int = 1) -> list[NaiveRecord]:
    """Records with every kind of key, value and headers, at times around now, in no order."""
    draw = random.Random(seed)
    keys = [None, b"", b"order-42", bytes(range(256)), b"k" * 127]
    values = [b"value", None, b"", b"{}" * 64, draw.randbytes(700), bytes(5000), b"\xff" * 8191]
    return [
        NaiveRecord(
            keys[number % 5],
            values[number % 7] if number % 7 < 5 or number % 11 == 0 else b"%d" % number,
            HEADERS[number % 3 if number % 13 else number // 13 % 5],
            NOW + draw.randrange(-100_000, 100_000),
        )
        for number in range(count)
    ]


def small(count: int) -> list[NaiveRecord]:
    return [NaiveRecord(b"%d" % (n % 97), b"value %d" % n, (), NOW + n) for n in range(count)]


def timed() -> list[NaiveRecord]:
    return [NaiveRecord(b"k", b"%d" % time, (), time) for time in TIMES]


def large() -> list[NaiveRecord]:
    value = random.Random(2).randbytes(LARGE // 2) + bytes(LARGE // 2)
    return [NaiveRecord(b"16 MiB", value, (), NOW), NaiveRecord(None, b"behind it", (), NOW)]


def send(broker: Broker, topic: str, records: list[NaiveRecord]) -> None:
    """Send by every call there is, in turns, with writes of 1 to 400 records."""
    producer = broker.producer()
    draw = random.Random(3)
    position = 0
    while position < len(records):
        size = draw.choice([1, 1, 2, 7, 60, 400])
        some = [
            ProducerRecord(topic, one.value, one.key, one.headers, 0, one.timestamp_ms)
            for one in records[position : position + size]
        ]
        position += size
        if len(some) == 1:
            producer.send(some[0])
        elif len(some) < 8:
            for one in some:
                producer.send_nowait(one)
            assert not producer.flush(60)
        elif not any(one.headers for one in some):
            producer.send_values(
                topic,
                [one.value for one in some],
                keys=[one.key for one in some],
                timestamps_ms=[one.timestamp_ms for one in some],
            )
        else:
            producer.send_batch(some)


def compact_to(topic: Topic, count: int) -> int:
    """Keep so many records and rewrite the boundary segment; the first offset left."""
    topic.alter(retention=RetentionConfig(max_records=count))
    topic.partition(0).compact()
    first = topic.partition(0).start_offset
    topic.alter(retention=RetentionConfig())
    return first


class Writer:
    """Fills a data directory with topics as they come about, and keeps what was sent."""

    def __init__(self, root: Path, compression: str) -> None:
        self.root = root
        self.logs: dict[str, Log] = {}
        self._options = {"compression": compression, "default_durability": "disk"}

    def write(self) -> dict[str, Log]:
        crashing = Broker.open(self.root, **self._options)
        self._topic(crashing, "after a crash", varied(500, 8), 50_000, 2)
        crashing._engine.abandon()
        with Broker.open(self.root, **self._options) as broker:
            self._topic(broker, "one", varied(1), 1 << 20, 1)
            self._topic(broker, "rolled", varied(1500), 50_000, 4)
            self._topic(broker, "10000", small(10_000), 1 << 27, 1)
            self._topic(broker, "times", timed() + timed()[::-1], 4096, 1)
            self._topic(broker, "large", large(), 1 << 27, 1)
            self._compacted(broker)
        return self.logs

    def _topic(
        self, broker: Broker, name: str, records: list[NaiveRecord], segment_bytes: int, least: int
    ) -> Topic:
        name = name.replace(" ", "-")
        topic = broker.create_topic(name, segment_bytes=segment_bytes)
        send(broker, name, records)
        self._keep(name, 0, records, least)
        return topic

    def _keep(self, name: str, first: int, records: list[NaiveRecord], least: int) -> None:
        directory = self.root / "topics" / name / "0"
        self.logs[name] = Log(directory, first, records, least)

    def _compacted(self, broker: Broker) -> None:
        records = varied(1500, 4) + varied(300, 5) + varied(3, 6)
        topic = self._topic(broker, "compacted", records[:1500], 50_000, 3)
        compact_to(topic, 701)
        send(broker, "compacted", records[1500:1800])
        first = compact_to(topic, 640)
        send(broker, "compacted", records[1800:])
        self._keep("compacted", first, records[first:], 3)
        topic = self._topic(broker, "compacted-active", varied(900, 7), 1 << 20, 1)
        first = compact_to(topic, 111)
        self._keep("compacted-active", first, varied(900, 7)[first:], 2)


@pytest.fixture(scope="module", params=["none", "lz4"])
def logs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Writer(tmp_path_factory.mktemp("log") / "data", request.param).write(), request.param


def read_segments(client: Client, log: Log, codecs: set[int]) -> Iterator[Any]:
    offset = log.first_offset
    paths = sorted(log.directory.glob("*.log"))
    assert len(paths) >= log.segments_min
    for path in paths:
        assert path.name == f"{offset:020d}.log"
        for batch, records in batches_of(client, path.read_bytes()):
            assert (batch.magic, batch.base_offset) == (2, offset)
            assert batch.attributes in (0, 3)
            assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (-1, -1, -1)
            assert batch.first_timestamp == records[0].timestamp
            assert batch.max_timestamp == max(record.timestamp for record in records)
            assert {record.timestamp_type for record in records} == {0}
            assert batch.last_offset_delta == len(records) - 1
            codecs.add(batch.compression_type)
            offset += len(records)
            yield from records


@clients
@pytest.mark.parametrize(
    "topic",
    ["one", "rolled", "10000", "times", "large", "after-a-crash", "compacted", "compacted-active"],
)
def test_clients_read_our_segments(client: Client, topic: str, logs: Any) -> None:
    written, compression = logs
    log = written[topic]
    codecs: set[int] = set()
    read = [fields(record) for record in read_segments(client, log, codecs)]
    assert read == expected(log.first_offset, log.records)
    assert codecs <= {0, CODECS[compression]}
    assert CODECS[compression] in codecs or topic == "one"


@clients
@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_clients_read_the_sealed_segments_of_an_open_broker(
    client: Client, compression: str, tmp_path: Path
) -> None:
    records = varied(800, 9)
    with Broker.open(tmp_path / "data", compression=compression) as broker:
        broker.create_topic("t", segment_bytes=20_000)
        send(broker, "t", records)
        paths = sorted((tmp_path / "data/topics/t/0").glob("*.log"))
        files = [batches_of(client, path.read_bytes()) for path in paths[:-1]]
        read = [fields(record) for file in files for _, some in file for record in some]
    assert len(read) == int(paths[-1].stem) > 0
    assert read == expected(0, records[: len(read)])


def cut(records: list[NaiveRecord], sizes: list[int]) -> Iterator[tuple[int, list[NaiveRecord]]]:
    """Records in batches of these sizes, in turns, each with its first offset."""
    first = 0
    while first < len(records):
        size = sizes[0]
        sizes = [*sizes[1:], size]
        yield first, records[first : first + size]
        first += size


def plant(root: Path, segments: dict[int, bytes]) -> None:
    """Make the data directory of a topic whose only partition is these files and nothing else."""
    with Broker.open(root) as broker:
        broker.create_topic("t")
    (root / "clean").unlink()
    directory = root / "topics/t/0"
    for path in [*directory.glob("*"), *directory.glob("tree/*")]:
        if path.is_file():
            path.unlink()
    for first, data in segments.items():
        (directory / f"{first:020d}.log").write_bytes(data)


def check_partition(root: Path, records: list[NaiveRecord], first: int = 0) -> None:
    """Everything a partition says of these records: fields, leaves, proofs, root."""
    hashes = naive_batch.leaf_hashes(records, 0)
    leaves = [hashes[start : start + 32] for start in range(0, len(hashes), 32)]
    count = len(records)
    root_hash = NaiveTree(leaves).root(0, count)
    with Broker.open(root) as broker:
        partition = broker.topic("t").partition(0)
        assert (partition.start_offset, partition.end_offset) == (first, count)
        assert partition.root() == root_hash
        read = partition.read_range(first, count)
        assert [
            (one.offset, one.timestamp_ms, one.key, one.value, one.headers) for one in read
        ] == expected(first, records[first:])
        for record in [*read[::37], read[-1]]:
            assert partition.read(record.offset) == record
            proof = partition.proof(record.offset)
            assert proof.leaf_hash == leaves[record.offset]
            assert proof.verify(record, root_hash)
        report = partition.verify()
        assert (report.end_offset, report.root) == (count, root_hash)
        consumer = broker.consumer("g", auto_commit=False)
        consumer.subscribe(["t"])
        assert consumer.poll(10)[0] == read[0]
        consumer.close()


@clients
@pytest.mark.parametrize("compression", CODECS)
def test_a_broker_takes_over_clients_batches(
    client: Client, compression: str, tmp_path: Path
) -> None:
    records, codec = [*varied(700, 10), *small(300)], CODECS[compression]
    try:
        batches = [
            (first, theirs(client, some, first, codec))
            for first, some in cut(records, [1, 60, 3, 200])
        ]
    except UNSUPPORTED as error:
        pytest.skip(f"{client.name}: {error}")
    assert {data[22] for _, data in batches} >= {codec}
    root = tmp_path / "data"
    segments: dict[int, bytes] = {}
    for first, data in batches:
        name = max(start for start in (0, 61, 264) if start <= first)
        segments[name] = segments.get(name, b"") + data
    plant(root, segments)
    check_partition(root, records)  # mended
    check_partition(root, records)  # closed and opened: taken at its word
    with Broker.open(root) as broker:
        send(broker, "t", varied(50, 11))
        first = compact_to(broker.topic("t"), 900)
    records += varied(50, 11)
    check_partition(root, records, first)
    log = Log(root / "topics/t/0", first, records[first:], 3)
    other = AIOKAFKA if compression == "snappy" else KAFKA
    read = [
        fields(record)
        for path in sorted(log.directory.glob("*.log"))
        for _, some in batches_of(other, path.read_bytes())
        for record in some
    ]
    assert read == expected(first, records[first:])


@clients
def test_a_broker_takes_over_every_timestamp(client: Client, tmp_path: Path) -> None:
    records = timed()
    batches = [theirs(client, some, first, 0) for first, some in cut(records, [1])]
    if client is AIOKAFKA:  # its deltas wrap as Java's do; kafka-python's do not fit a batch
        batches += [theirs(client, records, len(records), 0)]
        records = records * 2
    plant(tmp_path / "data", {0: b"".join(batches)})
    check_partition(tmp_path / "data", records)
    with Broker.open(tmp_path / "data") as broker:
        first = compact_to(broker.topic("t"), len(TIMES) - 2)
    check_partition(tmp_path / "data", records, first)


@clients
def test_a_broker_takes_over_a_transaction(client: Client, tmp_path: Path) -> None:
    """Its records, those a server stamped, and the marks of its end, which are not handed out."""
    mark = [NaiveRecord(b"\0\0\0\1", bytes(6), (), NOW)]
    batches = [
        marked(theirs(client, small(10), 0, 0), TRANSACTIONAL),
        marked(theirs(client, mark, 10, 0), TRANSACTIONAL | CONTROL),
        marked(theirs(client, small(10), 11, 3), LOG_APPEND_TIME, NOW + 5),
        marked(theirs(client, mark, 21, 0), TRANSACTIONAL | CONTROL),
    ]
    plant(tmp_path / "data", {0: batches[0] + batches[1], 11: batches[2] + batches[3]})
    with Broker.open(tmp_path / "data") as broker:
        topic = broker.topic("t")
        partition = topic.partition(0)
        root = partition.verify().root
        assert partition.end_offset == 22
        offsets = [*range(10), *range(11, 21)]
        assert [one.offset for one in partition.read_range(0, 22)] == offsets
        assert [one.offset for one in partition.read_range(5, 11)] == offsets[5:10]
        for size in (1, 100, 1 << 20):
            assert [one.offset for one in partition.fetch(10, max_bytes=size)] == offsets[10:]
            assert partition.fetch(21, max_bytes=size) == []
        stamped = partition.read_range(11, 21)
        assert {one.timestamp_ms for one in stamped} == {NOW + 5}
        assert all(partition.proof(one.offset).verify(one, root) for one in stamped)
        with pytest.raises(OffsetOutOfRangeError):
            partition.read(10)
        assert partition.proof(10).entry is None
        consumer = broker.consumer("g")
        consumer.subscribe(["t"])
        assert [one.offset for one in [*consumer.poll(5), *consumer.poll(0.01)]] == offsets
        for count in (12, 8, 1):  # from a mark, inside the stamped batch, from the last mark
            assert compact_to(topic, count) == 22 - count
            assert partition.verify().root == root
            left = [offset for offset in offsets if offset >= 22 - count]
            assert [one.offset for one in partition.fetch(22 - count)] == left


@clients
def test_a_broker_takes_over_a_large_value(client: Client, tmp_path: Path) -> None:
    codec = CODECS["lz4" if client is KAFKA else "none"]
    records = [NaiveRecord(b"16 MiB", bytes(LARGE), (), NOW), *small(10_000)]
    data = theirs(client, records[:1], 0, codec) + theirs(client, records[1:], 1, codec)
    plant(tmp_path / "data", {0: data})
    check_partition(tmp_path / "data", records)


@clients
@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_clients_read_segments_with_erased_records(
    client: Client, compression: str, tmp_path: Path
) -> None:
    """Offsets, times and all other records as they were; of an erased one the digest is left."""
    records = varied(700, 10)
    erased = [0, 1, 5, 123, 124, 350, 699]
    with Broker.open(tmp_path / "data", compression=compression) as broker:
        broker.create_topic("t", segment_bytes=20_000, erasable=True)
        send(broker, "t", records)
        partition = broker.topic("t").partition(0)
        proofs = {offset: partition.proof(offset) for offset in erased}
        assert partition.erase(*erased) == erased
    log = Log(tmp_path / "data/topics/t/0", 0, records, 3)
    read = {record.offset: record for record in read_segments(client, log, set())}
    assert sorted(read) == list(range(700))
    for offset, wanted in enumerate(expected(0, records)):
        if offset not in proofs:
            assert fields(read[offset]) == wanted
            continue
        entry = proofs[offset].entry
        assert entry is not None
        record = read[offset]
        assert (record.key, record.value) == (None, None)
        assert record.timestamp == records[offset].timestamp_ms
        assert [(name, bytes(value)) for name, value in record.headers] == [
            ("merkql.erased", entry[17:])
        ]
