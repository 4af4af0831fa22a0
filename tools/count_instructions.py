"""Counts the instructions of what users wait for: unlike time, the same on a busy machine.

    python tools/count_instructions.py                     prints them
    python tools/count_instructions.py --history FILE      and compares with the runs kept in FILE

Each workload runs twice under valgrind's callgrind, few times and many, and the difference is
divided: what it takes to start cancels out. The history is a line of JSON a run; only runs with the
same Python, machine and valgrind are compared. Exit status 1: one takes over a fifth more than
before. valgrind knows no SHA-NI: hashing counts as the portable code does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIMIT = 1.2
RUNS_COMPARED = 7  # with their median: one odd run moves nothing
RECORDS = 100  # a call of many
Work = Callable[[int], object]


def send(broker: Any) -> Work:
    producer = broker.producer()
    return lambda count: [producer.send("t", b"x" * 256) for _ in range(count)]


def send_values(broker: Any) -> Work:
    producer, values = broker.producer(), [b"x" * 256] * RECORDS
    return lambda count: [producer.send_values("t", values) for _ in range(count)]


def send_batch(broker: Any) -> Work:
    from merkql import ProducerRecord

    broker.create_topic("keyed", partitions=4)
    producer = broker.producer()
    batch = [ProducerRecord("keyed", b"x" * 256, key=b"%d" % number) for number in range(RECORDS)]
    return lambda count: [producer.send_batch(batch) for _ in range(count)]


def filled(broker: Any) -> Any:
    broker.producer().send_values("t", [b"x" * 256] * 10_000)
    return broker.topic("t").partition(0)


def poll(broker: Any) -> Work:
    filled(broker)
    consumer = broker.consumer("g", auto_commit=False, max_records=RECORDS)
    consumer.assign([("t", 0)])
    return lambda count: [consumer.poll() for _ in range(count)]


def read(broker: Any) -> Work:
    partition = filled(broker)
    return lambda count: [partition.read(number * 37 % 10_000) for number in range(count)]


def prove(broker: Any) -> Work:
    partition = filled(broker)

    def work(count: int) -> None:
        for number in range(count):
            offset = number * 37 % 10_000
            partition.proof(offset).verify(partition.read(offset))

    return work


def temporary(broker: Any) -> Work:
    def work(count: int) -> None:
        for _ in range(count):
            with type(broker).temporary() as fresh:
                fresh.producer().send("t", b"x")

    return work


# What is set up, how often it is done, and what one time is called.
WORKLOADS: dict[str, tuple[Callable[[Any], Work], int, int, str]] = {
    "send": (send, 20, 220, "a record"),
    "send_values": (send_values, 5, 45, f"{RECORDS} records"),
    "send_batch": (send_batch, 5, 45, f"{RECORDS} records"),
    "poll": (poll, 5, 85, f"{RECORDS} records"),
    "read": (read, 50, 1050, "a record"),
    "proof": (prove, 20, 220, "made and verified"),
    "temporary": (temporary, 2, 12, "a broker, one record"),
}
IMPORT = "import"


def run(name: str, count: int) -> None:
    """Do one workload so many times; in the process that is counted."""
    from merkql import Broker

    with Broker.temporary() as broker:
        WORKLOADS[name][0](broker)(count)


def counted(*arguments: str) -> int:
    """The instructions of one Python process."""
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling is not what is counted
    command = [sys.executable, *arguments]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command]
    done = subprocess.run(valgrind, check=False, env=environment, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"{' '.join(valgrind)}\n{done.stderr}")
    return int(found[1])


def instructions_of(name: str) -> int:
    """What one time of a workload takes."""
    if name == IMPORT:
        return counted("-c", "from merkql import Broker") - counted("-c", "")
    _, few, many, _ = WORKLOADS[name]
    less, more = (counted(__file__, "--run", name, str(count)) for count in (few, many))
    return (more - less) // (many - few)


def output_of(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=HERE)
    return done.stdout.strip()


def machine() -> str:
    """What has to be the same for two runs to be compared."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {platform.machine()}, {output_of('valgrind', '--version')}"


def comparable(history: Path, same: str) -> list[dict[str, int]]:
    """The newest runs that were kept on such a machine."""
    if not history.exists():
        return []
    lines = map(json.loads, history.read_text(encoding="utf-8").splitlines())
    return [line["instructions"] for line in lines if line["machine"] == same][-RUNS_COMPARED:]


def report(found: dict[str, int], before: Sequence[dict[str, int]]) -> list[str]:
    """Print the figures beside the median of those before; the names of what grew too much."""
    grown = []
    for name, value in found.items():
        known = [one[name] for one in before if name in one]
        ratio = value / statistics.median(known) if known else 1.0
        beside = f"{ratio:6.2f} x the median of {len(known)}" if known else "  nothing before it"
        unit = "in all" if name == IMPORT else WORKLOADS[name][3]
        print(f"{name:12} {value:>14,} instructions {unit:20} {beside}")
        if ratio > LIMIT:
            grown.append(name)
    return grown


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, compare, keep; 1 if something grew by more than a fifth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--history", type=Path, help="compare with this file, and add the run")
    parser.add_argument("--only", nargs="*", choices=[*WORKLOADS, IMPORT], help="only these")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.run:
        run(chosen.run[0], int(chosen.run[1]))
        return 0
    if shutil.which("valgrind") is None:
        print("valgrind is not installed", file=sys.stderr)
        return 2
    found = {name: instructions_of(name) for name in chosen.only or [*WORKLOADS, IMPORT]}
    same = machine()
    grown = report(found, comparable(chosen.history, same) if chosen.history else [])
    if chosen.history:
        commit = output_of("git", "rev-parse", "HEAD")
        line = {"commit": commit, "machine": same, "instructions": found}
        with chosen.history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    if grown:
        print(f"more than {LIMIT} times what it was: {', '.join(grown)}", file=sys.stderr)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
