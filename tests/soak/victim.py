"""The life of a log in one process, for `soak.syscalls`: open, send, roll, retain, commit, close.

    python -m soak.victim DIRECTORY

Writes a JSON line for each fact to standard output. Ends with status 0, or with 3 and one line that
says which error was raised; any other end is a finding.
"""

from __future__ import annotations

import json
import os
import sys

from merkql import Broker, MerkqlError, ProducerRecord, RetentionConfig


def say(*what: object) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def live(root: str) -> None:
    with Broker.open(root) as broker:
        if "t" not in broker.topics():
            broker.create_topic(
                "t", partitions=2, segment_bytes=4096, retention=RetentionConfig(max_records=8)
            )
        producer = broker.producer()
        for turn in range(5):
            values = [f"{os.getpid()}/{turn}/{n}".ljust(700, "x") for n in range(4)]
            records = [ProducerRecord("t", v, partition=n % 2) for n, v in enumerate(values)]
            say("offer", [["t", r.partition, r.value.decode()] for r in records])
            places = producer.send_batch(records)
            say(
                "sent",
                [["t", m.partition, m.offset, v] for m, v in zip(places, values, strict=True)],
            )
        broker.apply_retention()
        broker.topic("t").partition(0).compact()
        with broker.consumer("workers", auto_commit=False) as consumer:
            consumer.assign([("t", 0)])
            end = broker.topic("t").partition(0).end_offset
            say("committing", [["t", 0, end]])
            consumer.commit_sync({("t", 0): end})
            say("committed", [["t", 0, end]])
        broker.create_topic("u")
        broker.delete_topic("u")
    say("closed", [])


if __name__ == "__main__":
    try:
        live(sys.argv[1])
    except (OSError, MerkqlError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(3)
