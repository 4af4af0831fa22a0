"""Millions of sends and polls: does the process grow?

    PYTHONPATH=tests python -m soak.leaks [--records 10000000]

One of ten records goes by ``send_nowait``, one of a thousand alone, some are refused; a consumer
polls and commits all of it, and readers are opened and closed beside.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import resource
import sys
import tempfile
import time
from pathlib import Path

from merkql import Broker, OffsetOutOfRangeError, RetentionConfig

BATCH = 1000
WARM = 4  # of twenty parts: until then buffers, pools and caches fill
GROWTH_MAX_KB = 16 << 10
PAGE_KB = resource.getpagesize() >> 10


def resident_kb() -> int:
    """What the process has in memory now, garbage taken away."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KB


def one_round(broker: Broker, number: int) -> int:
    """So many records sent, read again and committed."""
    producer = broker.producer()
    sent = [b"%d:" % (number + n) + bytes(60) for n in range(BATCH - 101)]
    producer.send_values("t", sent, partition=0)
    producer.send("t", "alone", headers=[("n", b"1")], partition=0)
    for n in range(100):
        producer.send_nowait("t", b"%d" % n, key=b"k", partition=0)
    producer.flush()
    with contextlib.suppress(TypeError):
        producer.send("t", 3.5)  # type: ignore[arg-type]
    with contextlib.suppress(OffsetOutOfRangeError):
        broker.topic("t").partition(0).read(1 << 60)
    return BATCH


def run(records: int) -> list[int]:
    """Kilobytes in memory after each twentieth of the work."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    sizes: list[int] = []
    with tempfile.TemporaryDirectory(dir=place) as root, Broker.open(root) as broker:
        limits = RetentionConfig(max_bytes=16 << 20)
        broker.create_topic("t", segment_bytes=4 << 20, retention=limits, durability="disk")
        done = polled = 0
        with broker.consumer("g") as consumer:
            consumer.subscribe(["t"])
            while done < records:
                done += one_round(broker, done)
                while polled < done:
                    polled += len(consumer.poll(1.0))
                if done % (50 * BATCH) == 0:
                    broker.apply_retention()
                    with Broker.open(root, read_only=True) as reader:
                        reader.topic("t").partition(0).verify()
                if done * 20 // records > len(sizes):
                    sizes.append(resident_kb())
                    print(f"{done:>12,} records  {sizes[-1]:>9,} KB", flush=True)
    assert polled == done
    return sizes


def growth_kb(sizes: list[int]) -> int:
    """Since everything was warm."""
    return max(sizes[WARM:]) - sizes[WARM]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000_000)
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    started = time.monotonic()
    growth = growth_kb(run(options.records))
    print(f"{growth:,} KB more than when it was warm, {time.monotonic() - started:.0f} s")
    return int(growth > GROWTH_MAX_KB)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
