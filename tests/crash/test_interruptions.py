"""Ctrl-C at any moment, kill -9 at any moment: real processes, real signals.

Goal: an interrupted call loses and doubles nothing, and the broker goes on. What was acknowledged
is kept outside the broker, by the parent process or in a list the interruption cannot reach.
"""

from __future__ import annotations

import json
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from merkql import Broker
from support import children

INTERRUPTED = """
import json, random, signal, sys, threading
from merkql import Broker, ProducerRecord, TopicExistsError

root, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
draw = random.Random(seed)
said, offered = [], []          # what calls returned; what they were given
stop = threading.Event()
armed = False  # another thread may take a signal late, when the call it was meant for has returned

def interrupt(number, frame):
    if armed:
        raise KeyboardInterrupt

def beside():
    turn = 0
    while not stop.is_set():
        value = f"{seed} beside {turn}"
        offered.append(value)
        metadata = producer.send("t", value, partition=turn % 2)
        said.append((metadata.partition, metadata.offset, value))
        turn += 1

broker = Broker.open(root)
try:
    broker.create_topic("t", partitions=2, segment_bytes=65536)
except TopicExistsError:
    pass  # the other one's, where two are at it
producer = broker.producer()
# Opened before the storm: opening may log, and a KeyboardInterrupt inside the logging module
# leaves its lock taken for ever.
for first in (f"{seed} first 0", f"{seed} first 1"):
    offered.append(first)
    place = producer.send("t", first, partition=int(first[-1]))
    said.append((place.partition, place.offset, first))
thread = threading.Thread(target=beside, daemon=True)
thread.start()
signal.signal(signal.SIGALRM, interrupt)
hits = 0
for turn in range(rounds):
    values = [f"{seed} main {turn}/{i}" for i in range(draw.choice([1, 1, 4]))]
    offered += values
    records = [ProducerRecord("t", v, partition=draw.randrange(2)) for v in values]
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.00001, 0.0008))
        places = producer.send_batch(records)
        armed = False
    except KeyboardInterrupt:
        armed = False
        hits += 1
        continue
    said += [(m.partition, m.offset, v) for m, v in zip(places, values)]
stop.set()
thread.join()
try:
    broker.close()
except KeyboardInterrupt:
    broker.close()
json.dump({"said": said, "offered": offered, "hits": hits}, sys.stdout)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(1,), (2,), (3, 4), (5, 6, 7)])
def test_ctrl_c_loses_and_doubles_nothing(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    """One process, or several that write to one directory and hand the writer role around."""
    with ThreadPoolExecutor() as pool:
        said = pool.map(lambda seed: children.run(INTERRUPTED, tmp_path, seed, 600), seeds)
        outcomes = list(map(json.loads, said))
    assert all(outcome["hits"] > 20 for outcome in outcomes)
    with Broker.open(tmp_path) as broker:
        held: dict[tuple[int, int], str] = {}
        for partition in broker.topic("t").partitions():
            partition.verify()
            for record in partition.read_range(0, partition.end_offset):
                assert record.value is not None
                held[partition.index, record.offset] = record.value.decode()
    for outcome in outcomes:
        for partition_index, offset, value in outcome["said"]:
            assert held[partition_index, offset] == value
    assert len(set(held.values())) == len(held), "a record is there twice"
    assert set(held.values()) <= {value for outcome in outcomes for value in outcome["offered"]}


VARIED = """
import random, sys, json
from merkql import Broker, ProducerRecord, RetentionConfig

root, seed = sys.argv[1], int(sys.argv[2])
draw = random.Random(seed)
broker = Broker.open(root)
for number in range(4):
    name = f"t{number}"
    if name not in broker.topics():
        broker.create_topic(
            name,
            partitions=draw.choice([1, 3]),
            segment_bytes=draw.choice([4096, 20_000, 1 << 20]),
            compression=draw.choice(["none", "lz4"]),
            durability=draw.choice(["fsync", "disk"]),
            erasable=draw.random() < 0.3,
            retention=RetentionConfig(max_records=draw.choice([None, None, 50])),
        )
producer = broker.producer()
serial = 0
while True:
    serial += 1
    records = []
    for i in range(draw.choice([1, 1, 5, 60])):
        name = f"t{draw.randrange(4)}"
        partition = draw.randrange(len(broker.topic(name).partitions()))
        value = f"{seed}/{serial}/{i}/" + "x" * draw.choice([0, 50, 2000])
        records.append(ProducerRecord(name, value, partition=partition))
    places = producer.send_batch(records)
    print(json.dumps([(m.topic, m.partition, m.offset, r.value.decode())
                      for m, r in zip(places, records)]), flush=True)
    if serial % 7 == 0:
        broker.apply_retention()
    if serial % 11 == 0:
        for topic in broker.topics():
            broker.topic(topic).partition(0).compact()
"""


def killed_writers(root: Path, cycles: int) -> None:
    draw = random.Random(cycles)
    known: dict[tuple[str, int], dict[int, str]] = {}
    for cycle in range(cycles):
        with children.start(VARIED, root, cycle) as child:
            assert child.stdout is not None
            lines = []
            for _ in range(draw.randrange(3, 30)):
                lines.append(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.read().splitlines(keepends=True)
        for line in lines:
            if line.endswith("]\n"):
                for topic, partition, offset, value in json.loads(line):
                    known.setdefault((topic, partition), {})[offset] = value
        with Broker.open(root) as broker:
            for (topic, index), records in known.items():
                partition = broker.topic(topic).partition(index)
                start, end = partition.start_offset, partition.end_offset
                assert end > max(records)
                found = {r.offset: r.value for r in partition.read_range(start, end)}
                for offset, value in records.items():
                    assert offset < start or found[offset] == value.encode()
                assert start == 0 or broker.topic(topic).config.retention.max_records
                partition.verify()


def test_a_writer_of_many_kinds_is_killed_at_random(tmp_path: Path) -> None:
    killed_writers(tmp_path, 4)


@pytest.mark.slow
def test_a_writer_of_many_kinds_is_killed_at_random_many_times(tmp_path: Path) -> None:
    killed_writers(tmp_path, 60)
