"""Erasing beside processes that write, read and erase: no reader is harmed, nothing comes back."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from merkql import Broker, ClosedError, ProducerRecord
from support import children
from support.crash_oracle import find_bytes

COUNT = 400  # records of the topic at the beginning

# Reads by every call, at random, until it is told to stop; what was erased once stays so.
READER = """
import random, sys, threading
from merkql import Broker

def text(offset):
    return b"value-%06d-" % offset

stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
draw, seen, rounds = random.Random(int(sys.argv[3])), set(), 0
with Broker.open(sys.argv[1], read_only=sys.argv[2] == "reader") as broker:
    partition = broker.topic("t").partition(0)
    print("ready", flush=True)
    while not stop.is_set() or rounds < 5:
        end = partition.end_offset
        first = draw.randrange(end)
        for record in [partition.read(first), *partition.read_range(first, min(end, first + 50))]:
            assert record.erased or record.value.startswith(text(record.offset)), record
            assert record.erased or record.offset not in seen, f"{record.offset} is there again"
            if record.erased:
                seen.add(record.offset)
        partition.proof(first, end).check_leaf(partition.root(end))
        if rounds % 10 == 0:
            assert seen <= set(partition.verify().erased)
        with broker.consumer(f"g{draw.random()}", auto_commit=False) as consumer:
            consumer.assign([("t", 0)])
            offsets = [record.offset for record in consumer.poll()]
            assert offsets == list(range(len(offsets))), "the offsets have gaps"
        rounds += 1
    assert seen <= set(partition.verify().erased)
print(rounds)
"""

ERASER = """
import random, sys
from merkql import Broker

draw, erased = random.Random(int(sys.argv[2])), []
with Broker.open(sys.argv[1]) as broker:
    topic = broker.topic("t")
    for number in range(int(sys.argv[3])):
        if number % 4 == 3:
            erased += topic.erase_key(b"key-%d" % draw.randrange(100)).get(0, [])
        else:
            end = topic.partition(0).end_offset
            erased += topic.partition(0).erase(*{draw.randrange(end) for _ in range(3)})
print(*erased)
"""

WRITER = """
import sys
from merkql import Broker, ProducerRecord

with Broker.open(sys.argv[1]) as broker:
    producer = broker.producer()
    for number in range(int(sys.argv[3])):
        producer.send_batch([ProducerRecord("u", b"%s-%d" % (sys.argv[2].encode(), number))] * 3)
        producer.send(ProducerRecord("u", b"alone"))
"""


DIES = """
import os, sys
from merkql import Broker
from merkql.erasures import Erasures

Erasures._carry_out = lambda *_: os._exit(0)
broker = Broker.open(sys.argv[1])
broker.topic("t").partition(0).erase(7)
"""


def text(offset: int) -> bytes:
    return b"value-%06d-" % offset


def fill(root: Path, compression: str) -> None:
    with Broker.open(root) as broker:
        broker.create_topic("t", erasable=True, segment_bytes=8192, compression=compression)
        broker.create_topic("u")
        for begin in range(0, COUNT, 10):
            broker.producer().send_batch(
                [
                    ProducerRecord("t", text(n) + b"x" * 100, b"key-%d" % (n % 100))
                    for n in range(begin, begin + 10)
                ]
            )


@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_a_process_reads_on_while_another_erases(tmp_path: Path, kind: str) -> None:
    fill(tmp_path, "none")
    draw = random.Random(1)
    with children.start(READER, tmp_path, kind, 7) as child, Broker.open(tmp_path) as broker:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        partition = broker.topic("t").partition(0)
        erased = set()
        for _ in range(12):
            chosen = draw.sample(range(COUNT), 5)
            erased.update(chosen)
            partition.erase(*chosen)
        child.stdin.write("\n")
        child.stdin.flush()
        output, _ = child.communicate(timeout=60)
        assert child.returncode == 0, output
        assert set(partition.verify().erased) == erased


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_four_processes_erase_beside_two_writers_and_two_readers(
    tmp_path: Path, compression: str
) -> None:
    fill(tmp_path, compression)
    readers = [children.start(READER, tmp_path, kind, 3) for kind in ("reader", "writer")]
    for one in readers:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    writers = [children.start(WRITER, tmp_path, name, 100) for name in ("one", "other")]
    erasers = [children.start(ERASER, tmp_path, number, 12) for number in range(4)]
    outputs = [one.communicate(timeout=300)[0] for one in (*erasers, *writers)][:4]
    for one in readers:
        one.communicate("\n", timeout=300)
    assert [one.returncode for one in (*erasers, *writers, *readers)] == [0] * 8
    erased = [int(word) for output in outputs for word in output.split()]
    assert len(erased) == len(set(erased))  # each was told to one of them
    with Broker.open(tmp_path) as broker:
        assert set(broker.topic("t").partition(0).verify().erased) == set(erased)
        assert broker.topic("u").partition(0).end_offset == 800
        log = broker.topic("__erasures").partition(0)
        told = [json.loads(r.value or b"") for r in log.read_range(0, log.end_offset)]
        ranges = [pair for one in told for pair in one["offsets"]]
        assert sorted(n for first, last in ranges for n in range(first, last + 1)) == sorted(erased)
        log.verify()
    assert not find_bytes(str(tmp_path), [text(offset) for offset in erased])


def test_who_closed_when_another_had_died_over_an_erasure_was_told_that_it_is_closed(
    tmp_path: Path,
) -> None:
    fill(tmp_path, "none")
    broker = Broker.open(tmp_path)
    with children.start(DIES, tmp_path) as child:
        child.communicate(timeout=60)
    broker.close()  # its turn begins with a recovery, which finishes the erasure
    with pytest.raises(ClosedError):
        broker.topic("t")
    with Broker.open(tmp_path, read_only=True) as broker:
        assert broker.topic("t").partition(0).verify().erased == (7,)
