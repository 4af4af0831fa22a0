"""examples/workers.py counts each flight once, whoever was killed on the way.

Goal: the table is worked out here a second time from the CSV, by csv and collections alone, and
nothing of merkql is imported.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSV = ROOT / "examples/data/flights-2013-01.csv.gz"
ROW = re.compile(r"^   (\w\w) +([\d,]+) +([\d,]+) +([-\d.]+) +([-\d]+)$", re.MULTILINE)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def expected_table(months: int) -> dict[str, list[str]]:
    by_carrier = defaultdict(list)
    for row in csv.DictReader(io.StringIO(gzip.decompress(CSV.read_bytes()).decode())):
        by_carrier[row["carrier"]].append(row)
    table = {}
    for carrier, flights in by_carrier.items():
        delays = [int(flight["dep_delay"]) for flight in flights if flight["dep_time"]]
        table[carrier] = [
            f"{months * len(flights):,}",
            f"{months * (len(flights) - len(delays)):,}",
            f"{sum(delays) / len(delays):.1f}",
            f"{max(delays)}",
        ]
    return table


def check(output: str, months: int) -> None:
    assert {carrier: figures for carrier, *figures in ROW.findall(output)} == expected_table(months)
    total = f"{months * 27_004:,}"
    assert f"{total} events in the log, {total} counted" in output
    assert "worker 3: killed" in output
    counts = re.findall(r"worker (\d): ([\d,]+) events$", output, re.MULTILINE)
    work = {int(number): int(count.replace(",", "")) for number, count in counts}
    twice = re.search(r"([\d,]+) of them done twice", output)
    assert twice is not None
    done_twice = int(twice[1].replace(",", ""))
    assert set(work) == {1, 2, 3, 4, 5}, "the killed one and the late one worked too"
    assert done_twice > 0, "the killed one left a tally that was not committed"
    assert sum(work.values()) == months * 27_004 + done_twice


def test_each_event_counts_once_though_a_worker_is_killed(run_example: Run, tmp_path: Path) -> None:
    for months in 1, 2:  # the second time the log, the group and the tallies go on
        done = run_example("workers.py", tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        check(done.stdout, months)


# The program interrupts itself when it imports a module or prints a line: always at one place.
SENDER = """
import multiprocessing.spawn
import builtins, os, signal, sys

who, what = os.environ["INTERRUPT_AT"].split(maxsplit=1)
show = print

def interrupt():
    os.killpg(0, signal.SIGINT)  # as a terminal does: to the children too
    os.killpg(0, signal.SIGINT)  # and as somebody does who has no patience

def watched_print(*values, **options):
    show(*values, **options)
    if what in str(values):
        interrupt()

class Importer:
    def find_spec(self, name, path=None, target=None):
        if name == what:
            sys.meta_path.remove(self)
            interrupt()

if who == ("child" if "--multiprocessing-fork" in sys.orig_argv else "parent"):
    builtins.print = watched_print
    sys.meta_path.insert(0, Importer())
"""


@pytest.mark.parametrize(
    "place",
    [
        "parent csv",  # one of its own imports
        "parent merkql.broker",
        "parent multiprocessing.popen_spawn_posix",  # in the start of the first child
        "child flights",  # while it is given its work
        "child merkql.broker",
        "parent 1. Four workers",
        "parent writer 1",  # the other one is writing
        "parent events in the log",  # nothing is left but to end
    ],
)
def test_interrupt_is_one_line_and_leaves_no_process(tmp_path: Path, place: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(SENDER)
    search = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    with subprocess.Popen(
        [sys.executable, str(ROOT / "examples/workers.py"), str(tmp_path / "data")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": search, "INTERRUPT_AT": place},
    ) as program:
        # Its standard error is its children's as well, so the end of it means that all are gone.
        _, errors = program.communicate(timeout=60)
    ended = (program.returncode, errors)
    assert ended == (130, "\nworkers.py: stopped; what was acknowledged is kept\n")
