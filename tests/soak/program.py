"""What the processes do that the soak kills: write, read, take part in a group; and say so.

Each line on the pipe is a JSON list. `offer` and `committing` come before the call, `sent`,
`committed`, `root`, `read` after it has returned: a line that arrived is a fact whatever happens
to the process next. Everything random comes from the seed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Callable
from typing import Any

from merkql import (
    Broker,
    OffsetOutOfRangeError,
    ProducerRecord,
    RetentionConfig,
    StaleGenerationError,
    TopicExistsError,
    UnknownTopicError,
)

TOPICS = ("plain", "small", "packed", "erased", "kept", "fast")
FLEETING = "fleeting"  # is deleted now and then, by any of them
Say = Callable[..., None]


def sayer(descriptor: int) -> Say:
    def say(*what: Any) -> None:
        os.write(descriptor, json.dumps(what).encode() + b"\n")

    return say


def make_topics(broker: Broker, draw: random.Random) -> None:
    options: dict[str, dict[str, Any]] = {
        "plain": {"partitions": 3},
        "small": {"segment_bytes": 4096, "partitions": 2},
        "packed": {"compression": "lz4", "segment_bytes": 20_000},
        "erased": {"erasable": True, "segment_bytes": 8192},
        "kept": {"retention": RetentionConfig(max_records=40), "segment_bytes": 4096},
        "fast": {"durability": "disk", "segment_bytes": 8192},
    }
    names = list(TOPICS)
    draw.shuffle(names)
    for name in names:
        with contextlib.suppress(TopicExistsError):  # another writer comes at once
            broker.create_topic(name, **options[name])


def write(root: str, seed: int, say: Say) -> None:
    """Send, retain, compact, erase, delete, add partitions, close and open, until killed."""
    draw = random.Random(seed)
    broker = Broker.open(root)
    make_topics(broker, draw)
    producer = broker.producer()
    for serial in range(1 << 30):
        records = _records(broker, draw, f"{seed}/{serial}")
        say("offer", [[r.topic, r.partition, r.value.decode()] for r in records])
        places = producer.send_batch(records)
        say(
            "sent",
            [
                [m.topic, m.partition, m.offset, r.value.decode()]
                for m, r in zip(places, records, strict=True)
            ],
        )
        chore(broker, draw, say, f"{seed}/{serial}")
        if draw.random() < 0.02:
            broker.close()
            broker = Broker.open(root)
            producer = broker.producer()


def chore(broker: Broker, draw: random.Random, say: Say, mark: str) -> None:
    """Now and then something else than sending."""
    what = draw.random()
    if what < 0.05:
        broker.apply_retention()
    elif what < 0.08:
        broker.topic(draw.choice(TOPICS)).partition(0).compact()
    elif what < 0.12:
        _say_root(broker, draw, say)
    elif what < 0.13:
        broker.topic("plain").add_partitions(min(6, len(broker.topic("plain").partitions()) + 1))
    elif what < 0.16:
        _erase(broker, draw, say)
    elif what < 0.18:
        broker.topic("kept").alter(retention=RetentionConfig(max_records=draw.randrange(20, 60)))
    elif what < 0.21:
        _come_and_go(broker, draw, say, mark)


def _erase(broker: Broker, draw: random.Random, say: Say) -> None:
    partition = broker.topic("erased").partition(0)
    start, end = partition.start_offset, partition.end_offset
    if end == start:
        return
    chosen = sorted({draw.randrange(start, end) for _ in range(3)})
    say("erasing", ["erased", 0, chosen])
    partition.erase(*chosen)
    say("erased", ["erased", 0, chosen])


def _come_and_go(broker: Broker, draw: random.Random, say: Say, mark: str) -> None:
    """Write to a topic that others delete meanwhile, then perhaps delete it."""
    values = [f"<{FLEETING} {mark}/{number}>" for number in range(5)]
    say("offer", [[FLEETING, 0, value] for value in values])
    with contextlib.suppress(UnknownTopicError):
        broker.producer().send_values(FLEETING, values)
        if draw.random() < 0.5:
            broker.delete_topic(FLEETING)
            say("deleted", [FLEETING, values])


def _records(broker: Broker, draw: random.Random, mark: str) -> list[ProducerRecord]:
    records = []
    for number in range(draw.choice([1, 1, 1, 4, 30])):
        topic = draw.choice(TOPICS)
        partition = draw.randrange(len(broker.topic(topic).partitions()))
        value = f"<{mark}/{number}>" + "x" * draw.choice([0, 20, 700, 3000])
        records.append(ProducerRecord(topic, value, partition=partition))
    return records


def _say_root(broker: Broker, draw: random.Random, say: Say) -> None:
    topic = draw.choice(TOPICS)
    partition = broker.topic(topic).partition(0)
    end = partition.end_offset
    if end:
        say("root", [topic, 0, end, partition.root(end).hex()])


def read(root: str, seed: int, say: Say) -> None:
    """Follow every partition in a process that only reads; what comes and goes is left out."""
    draw = random.Random(seed)
    Broker.open(root).close()  # the directory is there from now on, whoever comes first
    while True:
        with Broker.open(root, read_only=True) as broker:
            _follow(broker, draw, say)


def _follow(broker: Broker, draw: random.Random, say: Say) -> None:
    known: dict[tuple[str, int], int] = {}
    while True:
        for name in set(broker.topics()) & set(TOPICS):
            for partition in broker.topic(name).partitions():
                end = partition.end_offset
                start = max(partition.start_offset, known.get((name, partition.index), 0), end - 50)
                if start >= end:
                    continue
                with contextlib.suppress(OffsetOutOfRangeError):  # retention came in between
                    values = [
                        [name, partition.index, one.offset, one.value and one.value.decode()]
                        for one in partition.read_range(start, end)
                    ]
                    say("read", values)
                known[name, partition.index] = end
        if draw.random() < 0.05:
            return


def consume(root: str, seed: int, say: Say) -> None:
    """Be a member of a group: poll, commit, sometimes leave and join again."""
    draw = random.Random(seed)
    Broker.open(root).close()
    while True:
        with Broker.open(root, read_only=True) as broker:
            _consume(broker, draw, say)


def _consume(broker: Broker, draw: random.Random, say: Say) -> None:
    with broker.consumer("workers", auto_commit=False) as consumer:
        consumer.subscribe(["plain", "small"])
        for _ in range(draw.randrange(3, 60)):
            records = consumer.poll(0.02, max_records=draw.choice([1, 5, 100]))
            if not records:
                continue
            positions: dict[tuple[str, int], int] = {}
            for one in records:
                positions[one.topic, one.partition] = one.offset + 1
            listed = [[topic, number, offset] for (topic, number), offset in positions.items()]
            say("committing", listed)
            try:
                consumer.commit_sync(positions)
            except StaleGenerationError:
                continue  # put out meanwhile: somebody else has these
            say("committed", listed)


PROGRAMS = {"write": write, "read": read, "consume": consume}
