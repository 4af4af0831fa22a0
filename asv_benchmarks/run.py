"""Prints one table: each figure of ours beside the floor and the peers of the same run.

`make bench` runs it (at most 20 minutes), `--quick` takes two. The subjects of a row take turns;
a figure is the median of the turns, a ratio the median of theirs. The benchmarks themselves are
in `benchmarks/`, the rows and their aims in `rows.py`.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributions
import rows
from benchmarks import disk, logs

ROUNDS = 5
TURN_SECONDS = {"full": 0.25, "quick": 0.06, "toy": 0.0}
IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
HEADER = ("row", "merkql", "floor", "ratio", "peers", "aim", "met")
WIDTHS = (38, 12, 22, 7, 44, 36, 0)
LATENCY = "latency"  # the title of the distributions, for --rows


@dataclass
class Measured:
    """A row's figures: ours and those beside it, in the row's unit, with every turn."""

    row: rows.Row
    figure: float
    beside: dict[str, float]
    turns: dict[str, list[float]]

    def ratio(self, name: str) -> float:
        """Ours to the one beside it, turn by turn: a neighbour that slows both cancels out."""
        pairs = zip(self.turns["merkql"], self.turns[name], strict=True)
        return statistics.median(ours / other for ours, other in pairs)

    @property
    def shortfall(self) -> float | None:
        """By how many times the worst aim is missed; at most 1 when all are met; None: no aim."""
        misses = [
            aim.shortfall(self.ratio(aim.of) if aim.of else self.figure)
            for aim in self.row.aims
            if not self.out_of_reach(aim)
        ]
        return max(misses, default=None)

    def out_of_reach(self, aim: rows.Aim) -> bool:
        """Whether the disk is so slow now that the bare system calls miss the aim as well."""
        floor = self.beside.get("floor")
        return self.row.unit == rows.RATE and not aim.of and floor is not None and floor < aim.bound


def seconds_of(instance: Any, call: Callable[[], Any], turn_seconds: float) -> float:
    """Seconds a record over one turn."""
    calls, begin = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        spent = time.perf_counter() - begin
        if spent >= turn_seconds:
            return float(spent / calls / instance.per_call)


def take_turn(subject: rows.Subject, instance: Any, call: Callable[[], Any], mode: str) -> float:
    """One measurement: of a timed benchmark seconds a record, of a tracked one its value."""
    if subject.benchmark.rpartition(".")[2].startswith("track_"):
        return float(call())
    return seconds_of(instance, call, TURN_SECONDS[mode])


def measure(row: rows.Row, mode: str) -> Measured:
    """Let the subjects of a row take turns; the first round warms up and does not count."""
    subjects = {"merkql": row.ours, **row.beside}
    ready: dict[str, tuple[Any, Callable[[], Any]]] = {}
    turns: dict[str, list[float]] = {name: [] for name in subjects}
    rounds = 1 if row.once or mode == "toy" else ROUNDS
    try:
        for name, subject in subjects.items():
            ready[name] = subject.of(mode)
        for number in range(rounds + (rounds > 1)):
            for name, subject in subjects.items():
                gc.collect()
                taken = take_turn(subject, *ready[name], mode)
                if number > 0 or rounds == 1:
                    turns[name].append(1 / taken if row.unit == rows.RATE else taken)
    finally:
        for name, (instance, _) in ready.items():
            if hasattr(instance, "teardown"):
                instance.teardown(*subjects[name].params)
    medians = {name: statistics.median(found) for name, found in turns.items()}
    return Measured(row, medians.pop("merkql"), medians, turns)


def written(value: float, unit: str) -> str:
    """A figure as people say it: 2.13 M/s, 98.2 µs, 1.2 MiB."""
    if unit == rows.RATE:
        return f"{value / 1e6:.2f} M/s" if value >= 1e6 else f"{value:,.0f}/s"
    if unit == rows.SECONDS:
        for scale, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")):
            if value >= scale:
                return f"{value / scale:.3g} {name}"
        return f"{value:.3g} s"
    if unit == rows.SHARE:
        return f"{value:.2f}"
    return f"{value / 2**20:.2f} MiB" if value >= 2**20 else f"{value:,.0f} B"


def aim_text(aim: rows.Aim, unit: str) -> str:
    """One aim in words, without spaces around its sign."""
    if aim.of:
        return f"{aim.sign} {aim.bound:g}x {aim.of}"
    return f"{aim.sign} {written(aim.bound, unit)}"


def line_of(measured: Measured) -> str:
    """The row as one line of the table."""
    row, unit = measured.row, measured.row.unit
    floor, ratio, peers = "", "", []
    for name, value in measured.beside.items():
        times = measured.ratio(name)
        if name in rows.PEERS:
            peers.append(f"{name} {written(value, unit)} ({times:.2f}x)")
        else:
            floor = f"{name} {written(value, unit)}".removeprefix("floor ")
            ratio = f"{times:.2f}x"
    shortfall = measured.shortfall
    met = "" if shortfall is None else "yes" if shortfall <= 1 else f"NO, {shortfall:.2f}x off"
    if any(measured.out_of_reach(aim) for aim in row.aims):
        met = f"{met} (the floor is below the aim)".strip()
    aims = compact_aims([aim_text(aim, unit) for aim in row.aims])
    return joined((row.title, written(measured.figure, unit), floor, ratio, "; ".join(peers),
                   aims, met))  # fmt: skip


def compact_aims(texts: list[str]) -> str:
    """Aims as one text; those that differ in the peer only share their bound."""
    together: dict[str, list[str]] = {}
    for text in texts:
        bound, times, of = text.partition("x ")
        together.setdefault(bound + times.strip(), []).append(of)
    return ", ".join(f"{bound} {'/'.join(of)}".strip() for bound, of in together.items())


def joined(cells: Sequence[str]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def machine(directory: Path) -> str:
    """What the figures were measured on."""
    return (
        f"Python {platform.python_version()}, {platform.system()} {platform.release()} "
        f"{platform.machine()}, {os.cpu_count()} CPUs, {disk.file_system(directory) or 'unknown'}, "
        f"load {os.getloadavg()[0]:.1f} at the start; "
        "256-byte records, tree on, defaults unless the row says otherwise"
    )


def as_json(measured: Measured) -> dict[str, Any]:
    """What `--json` keeps of a row."""
    return {
        "row": measured.row.title,
        "unit": measured.row.unit,
        "figure": measured.figure,
        "beside": measured.beside,
        "ratios": {name: measured.ratio(name) for name in measured.beside},
        "turns": measured.turns,
        "aims": [aim_text(aim, measured.row.unit) for aim in measured.row.aims],
        "shortfall": measured.shortfall,
    }


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short turns and small logs")
    parser.add_argument("--toy", action="store_true", help="smallest sizes: only that it runs")
    parser.add_argument("--rows", default="", help="only rows whose title matches this")
    parser.add_argument("--dir", default=".", help="where to write: a real disk, never tmpfs")
    parser.add_argument("--json", help="also write every figure to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status tells only whether it ran, not whether aims are met."""
    chosen = options(arguments)
    mode = "toy" if chosen.toy else "quick" if chosen.quick else "full"
    logging.getLogger("merkql").setLevel(logging.ERROR)  # what recovery rebuilds is expected here
    directory = Path(chosen.dir).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    if disk.file_system(directory) in IN_MEMORY:
        print(f"{directory} is in memory; name a directory on a disk with --dir", file=sys.stderr)
        return 2
    print(machine(directory), joined(HEADER), sep="\n\n", flush=True)
    results = []
    with tempfile.TemporaryDirectory(prefix="merkql-bench-", dir=directory) as path:
        disk.BASE = Path(path)
        for row in rows.all_rows(mode):
            if re.search(chosen.rows, row.title):
                results.append(measure(row, mode))
                print(line_of(results[-1]), flush=True)
        if re.search(chosen.rows, LATENCY):
            print("", *distributions.report(mode), sep="\n", flush=True)
        logs.log_of.cache_clear()  # its logs go with the directory
    if chosen.json:
        text = json.dumps([as_json(measured) for measured in results], indent=1)
        Path(chosen.json).write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
