"""A month of departures through the log: written, shared out, resumed, proved.

    python examples/flights.py [DIRECTORY]

Every flight that left New York in January 2013 (or should have) becomes one event. Run it again
with the same DIRECTORY and the log goes on where it ended; see data/README.md for the source.
"""

from __future__ import annotations

import interrupts  # noqa: F401 - first, so that Ctrl-C finds it whenever it comes

# isort: split
import base64
import csv
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import merkql.proof
import merkql.proofs
from merkql import Broker, Consumer, Partition, ProducerRecord, Record
from merkql.cli.progress import Progress
from program import run

DATA = Path(__file__).parent / "data" / "flights-2013-01.csv.gz"
TOPIC = "departures"
BATCH_COUNT = 1_000  # events in one send_batch: one sync for all of them

Row = dict[str, str]


def main(directory: Path) -> None:
    rows = read_rows(DATA)
    log = directory / "log"

    with Broker.open(log) as broker:
        if TOPIC not in broker.topics():
            broker.create_topic(TOPIC, partitions=4)
        held = sum(partition.end_offset for partition in broker.topic(TOPIC).partitions())
        if held:
            say(f"The log holds {held:,} events of earlier runs; what follows is added.\n")
        say(f"1. Write {len(rows):,} departures, {BATCH_COUNT:,} a batch, each batch durable\n")
        ingest(broker, rows)

        say("\n2. Two groups read them, each at its own pace\n")
        worst = report_delays(broker)
        report_aircraft(broker)

    say("\n3. Close, open again: every group goes on where it was\n")
    with Broker.open(log) as broker:
        report_news(broker, "after opening again")
        producer = broker.producer()
        for row in rows[:10]:
            producer.send(to_event(row))
        report_news(broker, "after ten more events")

        say("\n4. Prove one record to somebody who has nothing of ours\n")
        partition = broker.topic(TOPIC).partition(worst.partition)
        prove(partition, worst.offset, Path(tempfile.mkdtemp(prefix="auditor-", dir=directory)))

    say_farewell(directory)


# 1. Write


def read_rows(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def to_event(row: Row) -> ProducerRecord:
    """The tail number is the key, so all flights of one aircraft stay in order in one partition."""
    scheduled = datetime.fromisoformat(row["time_hour"].replace("Z", "+00:00"))
    return ProducerRecord(
        TOPIC,
        json.dumps(row),
        key=row["tailnum"],
        headers={"carrier": row["carrier"], "origin": row["origin"]},
        timestamp_ms=int(scheduled.timestamp() * 1000),
    )


def ingest(broker: Broker, rows: list[Row]) -> None:
    producer = broker.producer()
    started = time.perf_counter()
    sending = 0.0
    with progress() as bar:
        for first in range(0, len(rows), BATCH_COUNT):
            events = [to_event(row) for row in rows[first : first + BATCH_COUNT]]
            sent = time.perf_counter()
            producer.send_batch(events)  # returns when all of them would survive a power cut
            sending += time.perf_counter() - sent
            bar.update(first + len(events), len(rows))
    seconds = time.perf_counter() - started
    say(f"   {len(rows):,} records in {seconds:.2f} s: {len(rows) / seconds:,.0f} records/s")
    say(f"   ({sending:.2f} s of it writing, the rest making events of CSV rows)")


def progress() -> Progress:
    """One line, redrawn for a person at a terminal; nothing in a pipe or a file."""

    def draw(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    return Progress(draw, "  ", "events", is_shown=sys.stderr.isatty(), delay_s=0)


# 2. Read


@dataclass
class Carrier:
    """One line of the table: what became of the flights of one carrier."""

    flights: int = 0
    cancelled: int = 0
    delay_sum: int = 0
    delay_max: int | None = None

    def add(self, row: Row) -> None:
        self.flights += 1
        if not row["dep_time"]:
            self.cancelled += 1
            return
        delay = int(row["dep_delay"])
        self.delay_sum += delay
        self.delay_max = delay if self.delay_max is None else max(self.delay_max, delay)

    def merge(self, other: Carrier) -> None:
        self.flights += other.flights
        self.cancelled += other.cancelled
        self.delay_sum += other.delay_sum
        worst = [delay for delay in (self.delay_max, other.delay_max) if delay is not None]
        self.delay_max = max(worst, default=None)

    def __str__(self) -> str:
        left = self.flights - self.cancelled
        mean = f"{self.delay_sum / left:.1f}" if left else "-"
        worst = "-" if self.delay_max is None else str(self.delay_max)
        return f"{self.flights:>9,}{self.cancelled:>11,}{mean:>12}{worst:>13}"


def report_delays(broker: Broker) -> Record:
    """The group `delays`: one member that commits by hand; returns the most delayed departure."""
    carriers: dict[str, Carrier] = {}
    worst: Record | None = None
    worst_delay = -(10**6)
    with broker.consumer("delays", auto_commit=False) as consumer:
        consumer.subscribe([TOPIC])
        for _, record in read_new([consumer]):
            row = json.loads(record.value or b"")
            carriers.setdefault(row["carrier"], Carrier()).add(row)
            if row["dep_time"] and int(row["dep_delay"]) > worst_delay:
                worst, worst_delay = record, int(row["dep_delay"])
        consumer.commit_sync()

    count = sum(carrier.flights for carrier in carriers.values())
    say(f"   group 'delays', one member, {count:,} records (delays in minutes)")
    say("   carrier  flights  cancelled  mean delay  worst delay")
    for name, carrier in sorted(carriers.items()):
        say(f"   {name:<7}{carrier}")
    assert worst is not None, "a month in which nothing left"
    return worst


def report_aircraft(broker: Broker) -> None:
    """The group `aircraft`: three members share the partitions and commit as they poll."""
    flights: Counter[str] = Counter()
    counts = [0, 0, 0]
    shares: list[set[int]] = [set(), set(), set()]
    with ExitStack() as stack:
        for member, record in read_new(join(broker, "aircraft", 3, stack)):
            flights[(record.key or b"").decode()] += 1
            counts[member] += 1
            shares[member].add(record.partition)

    say("\n   group 'aircraft', three members")
    for member, share in enumerate(shares):
        say(f"   member {member + 1}: partitions {sorted(share)}, {counts[member]:,} records")
    say("   busiest aircraft:")
    busiest = sorted(flights.items(), key=lambda item: (-item[1], item[0]))[:5]
    for tail_number, count in busiest:
        say(f"   {tail_number or '(not recorded)':<15}{count:>5,} flights")


def report_news(broker: Broker, when: str) -> None:
    """What each group has not seen yet."""
    for group, members in ("delays", 1), ("aircraft", 3):
        with ExitStack() as stack:
            count = sum(1 for _ in read_new(join(broker, group, members, stack)))
        say(f"   {when}: group '{group}' gets {count}")


def join(broker: Broker, group: str, count: int, stack: ExitStack) -> list[Consumer]:
    members = [stack.enter_context(broker.consumer(group)) for _ in range(count)]
    for consumer in members:
        consumer.subscribe([TOPIC])
    return members


def read_new(members: Sequence[Consumer]) -> Iterator[tuple[int, Record]]:
    """Poll the members in turn until a whole round brings nothing; yield (member, record)."""
    found = True
    while found:
        found = False
        for member, consumer in enumerate(members):
            for record in consumer.poll(timeout=0.05):
                found = True
                yield member, record


# 4. Prove


def prove(partition: Partition, offset: int, auditor: Path) -> None:
    """Save record, proof and root, and let a process that has proof.py alone judge them."""
    record, root = partition.read(offset), partition.root()
    proof = partition.proof(offset)
    say(f"   partition {partition.index}, offset {offset}: the most delayed departure of all")
    say(f"   {len(proof.path)} hashes lead from the record to the root of {proof.size:,} records")

    shutil.copy(merkql.proof.__file__, auditor / "proof.py")
    (auditor / "proof.json").write_text(proof.to_json())
    (auditor / "record.json").write_text(merkql.proofs.record_to_json(record))
    say("\n   The record as it is:")
    show_verdict(auditor, "record.json", root)

    forged = json.loads((auditor / "record.json").read_text())
    value = bytearray(base64.b64decode(forged["value"]))
    value[-3] ^= 1  # one bit of one byte: another distance
    forged["value"] = base64.b64encode(value).decode()
    (auditor / "forged.json").write_text(json.dumps(forged))
    say("\n   The same with one byte changed:")
    show_verdict(auditor, "forged.json", root)


def show_verdict(auditor: Path, record: str, root: bytes) -> None:
    """`python -I -S` sees neither this program's modules nor any installed package."""
    check = ["-I", "-S", "proof.py", "proof.json", record, "--root", root.hex()]
    say(f"   $ python {' '.join(check)}")
    verdict = subprocess.run(
        [sys.executable, *check], cwd=auditor, capture_output=True, text=True, check=False
    )
    for line in (verdict.stdout + verdict.stderr).splitlines():
        say(f"     {line}")
    say(f"     exit status {verdict.returncode}")


# 5. And now


def say_farewell(directory: Path) -> None:
    say(f"\n5. Everything is in {directory}: the log in log/, what the auditor got in auditor-*/\n")
    say("   Try next:")
    say(f"   {sys.executable} {sys.argv[0]} {directory}      # the log goes on, the groups too")
    say("   kill -9 it at any moment and run it again: nothing acknowledged is missing")
    say("   examples/audit_trail.py, and docs/guide/quickstart.md for your own first program")


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    run(main)
