"""Bit rot: each bit of each header, some elsewhere; nothing wrong is ever served.

A directory of every kind of file is copied, one bit of one file is turned, and everything in it is
read, by a writer and by a process that only reads. What comes out is an error that names a file, or
what was written.
"""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from merkql import Broker, CorruptionError, MerkqlError, ProducerRecord, RetentionConfig

HEADERS = {  # bytes of each kind of file in which every bit is turned
    ".log": 61,
    ".index": 24,
    "tail": 136,
    "start": 20,
    "clean": 20,
    "offsets": 72,
    ".wal": 120,
    "salts": 16,
    "h00": 32,
    "h04": 32,
    "merkql.json": 40,
    "topic.json": 60,
}
ELSEWHERE = 24  # bits of the rest of each file

TOPICS = {
    "plain": {"segment_bytes": 4096},
    "packed": {"compression": "lz4", "segment_bytes": 4096},
    "erased": {"erasable": True},
    "kept": {"retention": RetentionConfig(max_records=12), "segment_bytes": 4096},
}

Content = dict[tuple[str, int, int], bytes]


def build(root: Path, *, clean: bool) -> Content:
    """A small log with every kind of file in it; its records."""
    broker = Broker.open(root)
    for name, options in TOPICS.items():
        broker.create_topic(name, **options)  # type: ignore[arg-type]
    producer = broker.producer()
    for turn in range(5):
        for topic in broker.topics():
            values = [f"{topic}/{turn}/{n}".encode().ljust(500, b".") for n in range(5)]
            producer.send_batch([ProducerRecord(topic, value, b"key") for value in values])
    broker.topic("kept").alter(retention=RetentionConfig(max_records=20))
    with broker.consumer("workers", auto_commit=False) as consumer:
        consumer.assign([("plain", 0)])
        for offset in (3, 4):
            consumer.commit_sync({("plain", 0): offset})
    content = records_of(broker)
    if clean:
        broker.close()
    else:
        broker._engine.abandon()
        broker.closed = True
    return content


def records_of(broker: Broker, counts: Counter[str] | None = None) -> Content:
    """All that can be read; a partition or batch that cannot is left out and counted."""
    content: Content = {}
    for name in TOPICS:
        try:
            for partition in broker.topic(name).partitions():
                _read(partition, name, content)
                partition.root()
        except (CorruptionError, MerkqlError) as error:
            if counts is None:
                raise
            counts["noticed"] += 1
            if isinstance(error, CorruptionError) and not str(error.path):
                counts["nameless"] += 1
    return content


def _read(partition: object, name: str, content: Content) -> None:
    assert hasattr(partition, "read_range")
    start, end = partition.start_offset, partition.end_offset  # type: ignore[attr-defined]
    index = partition.index  # type: ignore[attr-defined]
    for record in partition.read_range(start, end):
        content[name, index, record.offset] = record.value or b""


def positions(path: Path, draw: random.Random) -> list[int]:
    """The bits of one file that are turned."""
    size = path.stat().st_size * 8
    kind = path.suffix if path.suffix in HEADERS else path.name
    header = min(HEADERS.get(kind, 0) * 8, size)
    rest = range(header, size)
    return [*range(header), *sorted(draw.sample(rest, min(ELSEWHERE, len(rest))))]


def run(share: float = 1.0, seed: int = 1) -> Counter[str]:
    """Every bit there is to turn, or a share; ``AssertionError`` where something wrong came out,
    or less than there is without a word."""
    logging.disable(logging.CRITICAL)
    draw = random.Random(seed)
    counts: Counter[str] = Counter()
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place, prefix="merkql-flips-") as scratch:
        for clean in (True, False):
            whole = Path(scratch, f"whole-{clean}")
            content = build(whole, clean=clean)
            for path in sorted(one for one in whole.rglob("*") if one.is_file()):
                for bit in positions(path, draw):
                    if draw.random() < share:
                        name = path.relative_to(whole)
                        _flip(Path(scratch, "hurt"), whole, (str(name), bit), content, counts)
    return counts


def _flip(
    hurt: Path, whole: Path, where: tuple[str, int], content: Content, counts: Counter[str]
) -> None:
    name, bit = where
    shutil.copytree(whole, hurt)
    data = bytearray((hurt / name).read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    (hurt / name).write_bytes(data)
    counts["flips"] += 1
    try:
        for read_only in (True, False):
            said = counts["noticed"]
            try:
                with Broker.open(hurt, read_only=read_only) as broker:
                    found = records_of(broker, counts)
            except MerkqlError:
                counts["noticed"] += 1
                continue
            _compare(found, content, where, counts)
            missing = sorted(content.keys() - found.keys())
            assert not missing or counts["noticed"] > said, f"{where}: {missing[:3]} are not there"
    finally:
        shutil.rmtree(hurt)


def _compare(
    found: Content, content: Content, where: tuple[str, int], counts: Counter[str]
) -> None:
    for place, value in found.items():
        if content.get(place) != value:
            counts["bad"] += 1
            raise AssertionError(f"{where}: {place} is served as {value[:40]!r}")
