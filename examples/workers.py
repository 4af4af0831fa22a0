"""The flights again, by many processes: two write, four share the counting, one of them dies.

    python examples/workers.py [DIRECTORY]

Each worker keeps a tally for each partition that falls to it: what became of the flights up to
some offset. It writes the tally to the topic `tallies`, then commits the offset. A tally counts
only if its offset is the committed one, so tally and position move together: a worker that is
killed between the two leaves a tally that nobody ever uses, and its heir counts again from where
the group stood. Whoever made it, a tally up to an offset says the same: the log alone decides.
"""

from __future__ import annotations

import interrupts  # first, so that Ctrl-C finds it whenever it comes

# isort: split
import json
import multiprocessing
import os
import signal
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from flights import BATCH_COUNT, DATA, TOPIC, Carrier, read_rows, say, to_event
from merkql import Broker, Consumer, MerkqlError, ProducerRecord, StaleGenerationError
from merkql import TopicPartition as Name
from program import run

GROUP = "carriers"
TALLIES = "tallies"  # partition p holds the tallies of partition p of the flights
PARTITIONS = 8
HALFTIME = "2013-01-16"  # where the writers rest until the late worker is there
VICTIM = 3
VICTIM_EVENTS = 500  # it is killed when it has counted so many
LATE = 5

SPAWN = multiprocessing.get_context("spawn")  # children start empty: nothing of ours is inherited


def main(directory: Path) -> None:
    log = directory / "log"
    with Broker.open(log) as broker, crew() as lines:
        for name in {TOPIC, TALLIES} - set(broker.topics()):
            broker.create_topic(name, partitions=PARTITIONS)
        say("1. Four workers share a topic, two writers fill it\n")
        workers = {number: lines.start(work, log, number) for number in range(1, 5)}
        for worker in workers.values():
            worker.recv()  # it has partitions
        writers = [lines.start(ingest, log, number) for number in range(2)]
        for number, writer in enumerate(writers, start=1):
            say(f"   writer {number}: {writer.recv():,} events up to the 15th of January")

        lines.wait_for_death(workers[VICTIM])
        say(f"   worker {VICTIM}: killed, between writing its tally and committing its position")
        lines.start(work, log, LATE).recv()
        say(f"   worker {LATE}: joined late, and has its share")
        for writer in writers:
            writer.send("go on")
        for number, writer in enumerate(writers, start=1):
            say(f"   writer {number}: {writer.recv():,} events of the rest")
        lines.wait_until_counted(broker)

        say("\n2. What they counted (delays in minutes)\n")
        report(broker)
    say(f"\n3. Everything is in {directory}. Try next:\n")
    say("   run it again with that directory: the month is added, the tallies go on")
    say("   kill -9 whom you like meanwhile, and run it again: each event still counts once")
    say("   docs/guide/processes.md for your own workers")


# The processes


class Lines:
    """Children, each with a line to it. A line that is closed tells the other end to stop."""

    def __init__(self) -> None:
        self.processes: dict[Connection, BaseProcess] = {}
        self._dead: set[Connection] = set()
        resource_tracker.ensure_running()  # later, it would end the hold that a start is under

    def start(self, target: Any, log: Path, number: int) -> Connection:
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=attend, args=(target, log, number, theirs), daemon=True)
        with interrupts.held():  # Ctrl-C is for this process alone, which ends the others
            process.start()
            self.processes[ours] = process
        theirs.close()
        return ours

    def wait_for_death(self, line: Connection) -> None:
        process = self.processes[line]
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"it ended with {process.exitcode}"
        self._dead.add(line)

    def wait_until_counted(self, broker: Broker) -> None:
        """Return when the group has committed every event; look again and again till then."""
        with broker.consumer(GROUP) as group:
            while any(end != committed(group, number) for number, end in ends(broker)):
                living = [p for line, p in self.processes.items() if line not in self._dead]
                wait([process.sentinel for process in living if process.exitcode is None], 0.05)
                if any(process.exitcode for process in living):
                    raise MerkqlError("a worker ended before its time; it said why above")

    def close(self) -> None:
        for line in self.processes:
            line.close()
        for process in self.processes.values():
            process.join(10)
            process.kill()  # does nothing to one that has ended


@contextmanager
def crew() -> Iterator[Lines]:
    lines = Lines()
    try:
        yield lines
    except EOFError:
        raise MerkqlError("a child ended before its time; it said why above") from None
    finally:
        with interrupts.held():
            lines.close()


def attend(target: Any, log: Path, number: int, line: Connection) -> None:
    """Do what a child is for. It ends without a word when nobody is at the other end any more."""
    with suppress(EOFError, ConnectionError):
        target(log, number, line)


def is_closed(line: Connection) -> bool:
    """Whether the parent closed the line, or died; it says nothing else here."""
    return line.poll()


# What a writer does


def ingest(log: Path, number: int, line: Connection) -> None:
    """Write the flights of every second aircraft, which stay in order so; rest in the middle."""
    rows = [r for r in read_rows(DATA) if zlib.crc32(r["tailnum"].encode()) % 2 == number]
    early = [row for row in rows if row["time_hour"] < HALFTIME]
    late = [row for row in rows if row["time_hour"] >= HALFTIME]
    with Broker.open(log) as broker:
        producer = broker.producer()
        for part in early, late:
            for first in range(0, len(part), BATCH_COUNT):
                producer.send_batch([to_event(row) for row in part[first : first + BATCH_COUNT]])
            line.send(len(part))
            if part is early:
                line.recv()


# What a worker does


@dataclass
class Tally:
    """What became of the flights of one partition before the offset `next`."""

    next: int = 0
    carriers: dict[str, Carrier] = field(default_factory=dict)

    def add(self, value: bytes | None, offset: int) -> None:
        assert offset == self.next, f"offset {offset} follows {self.next}"
        row = json.loads(value or b"")
        self.carriers.setdefault(row["carrier"], Carrier()).add(row)
        self.next += 1


def work(log: Path, number: int, line: Connection) -> None:
    """Count until the parent closes the line; tell it when there is something to count."""
    tallies: dict[int, Tally] = {}
    counted = 0

    def take_up(names: Iterable[Name]) -> None:
        for name in names:
            tallies[name.partition] = credited(broker, consumer, name.partition)

    def give_up(names: Iterable[Name]) -> None:
        for name in names:
            tallies.pop(name.partition, None)

    with Broker.open(log) as broker, broker.consumer(GROUP, auto_commit=False) as consumer:
        producer = broker.producer()
        consumer.subscribe([TOPIC], on_assign=take_up, on_revoke=give_up)
        is_ready = False
        while not is_closed(line):
            records = consumer.poll(timeout=0.1, max_records=BATCH_COUNT)
            if consumer.assignment and not is_ready:
                line.send("ready")
                is_ready = True
            firsts: dict[int, int] = {}
            for record in records:
                firsts.setdefault(record.partition, record.offset)
                tallies[record.partition].add(record.value, record.offset)
            if not firsts:
                continue
            producer.send_batch([to_record(number, p, f, tallies[p]) for p, f in firsts.items()])
            counted += len(records)
            if number == VICTIM and counted >= VICTIM_EVENTS:
                os.kill(os.getpid(), signal.SIGKILL)  # the worst moment there is
            try:
                consumer.commit_sync()
            except StaleGenerationError:
                pass  # taken for dead: the next poll revokes what is somebody else's now


def to_record(worker: int, partition: int, first: int, tally: Tally) -> ProducerRecord:
    value = {"worker": worker, "first": first, **asdict(tally)}
    return ProducerRecord(TALLIES, json.dumps(value), partition=partition)


def credited(broker: Broker, group: Consumer, number: int) -> Tally:
    """The tally up to the committed position, among the newest of its partition."""
    position = committed(group, number)
    if position == 0:
        return Tally()
    tallies = broker.topic(TALLIES).partition(number)
    for offset in reversed(range(tallies.end_offset)):
        found = json.loads(tallies.read(offset).value or b"")
        if found["next"] == position:
            carriers = found["carriers"].items()
            return Tally(position, {name: Carrier(**figures) for name, figures in carriers})
    raise MerkqlError(f"{TALLIES}/{number} has no tally up to the committed offset {position}")


def committed(group: Consumer, number: int) -> int:
    return group.committed((TOPIC, number)) or 0


def ends(broker: Broker) -> list[tuple[int, int]]:
    return [(one.index, one.end_offset) for one in broker.topic(TOPIC).partitions()]


# What became of it


def report(broker: Broker) -> None:
    carriers: dict[str, Carrier] = {}
    with broker.consumer(GROUP) as group:
        for number, _ in ends(broker):
            for name, part in credited(broker, group, number).carriers.items():
                carriers.setdefault(name, Carrier()).merge(part)
    say("   carrier  flights  cancelled  mean delay  worst delay")
    for name, carrier in sorted(carriers.items()):
        say(f"   {name:<7}{carrier}")
    counted = sum(carrier.flights for carrier in carriers.values())
    say(f"\n   {sum(end for _, end in ends(broker)):,} events in the log, {counted:,} counted")

    work: Counter[int] = Counter()
    twice = 0
    for partition in broker.topic(TALLIES).partitions():
        before = 0
        for record in partition.read_range(0, partition.end_offset):
            tally = json.loads(record.value or b"")
            work[tally["worker"]] += tally["next"] - tally["first"]
            twice += before - tally["first"]
            before = tally["next"]
    for number, count in sorted(work.items()):
        say(f"   worker {number}: {count:,} events")
    say(f"   {twice:,} of them done twice, the tally of the first time never used")


if __name__ == "__main__":
    run(main)
