"""Visits the crash states of every sequence of operations up to a length, and counts them.

    PYTHONPATH=tests python -m crash.explore --length 2 --sample 40      (make crash)
    PYTHONPATH=tests python -m crash.explore --length 3                  (make crash-all)
    PYTHONPATH=tests python -m crash.explore --sequence append,roll --state 3fa9

The choice depends on the seed alone. A failure prints the command that visits that one state again.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from crash.operations import OPERATIONS, VoidError, sequences, workload
from support.crash_explorer import Explorer, Limits
from support.disk_model import write_image

_visited: set[bytes] = set()  # by this process, in all sequences
_known: set[bytes] = set()  # what their recoveries led to


class Outcome(NamedTuple):
    """What the sequences of one task showed."""

    sequences: int
    void: int
    states: int
    distinct: int
    failures: list[str]


def explore(names: tuple[str, ...], options: argparse.Namespace) -> Outcome:
    """Visit the states a crash may leave during the last operation of a sequence.

    Those of the operations before it are the last ones of shorter sequences.
    """
    limits = Limits(
        seed=options.seed,
        visits=options.visits,
        failures_max=1,
        deep_share=0.02 if len(names) < 3 else 0.005,
        only_last=True,
        news=True,
        state=options.state,
    )
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place, prefix="merkql-crash-") as scratch:
        try:
            explorer = Explorer(scratch, workload(names), limits, seen=_visited, known=_known)
            found = explorer.run()
        except VoidError:
            return Outcome(1, 1, 0, 0, [])
        except Exception as error:  # of the sequence itself: nothing has crashed yet
            return Outcome(1, 0, 0, 0, [f"{','.join(names)}: {type(error).__name__}: {error}"])
        failures = [f"{','.join(names)}: {text}\n{_replay(names, text)}" for text in found.failures]
        if options.keep and found.images:
            write_image(found.images[0], options.keep)
    return Outcome(1, 0, found.states, found.distinct, failures)


def chosen(options: argparse.Namespace) -> list[tuple[str, ...]]:
    """All sequences up to the length, and a sample of those one operation longer."""
    if options.sequence is not None:
        return [tuple(options.sequence.split(","))]
    draw = random.Random(options.seed)
    found = [one for length in range(1, options.length) for one in sequences(length)]
    longest = list(sequences(options.length))
    draw.shuffle(longest)  # so that what a run that is cut short has seen is a fair sample
    longer = list(sequences(options.length + 1)) if options.sample else []
    return found + longest + draw.sample(longer, min(options.sample, len(longer)))


def run(options: argparse.Namespace) -> int:
    """Explore in so many processes; the number of sequences that failed."""
    words = chosen(options)
    print(
        f"{len(words)} sequences of {len(OPERATIONS)} operations, seed {options.seed}", flush=True
    )
    started = time.monotonic()
    count, void, states, distinct, failed = 0, 0, 0, 0, 0
    for outcome in with_progress(words, options):
        count += outcome.sequences
        void += outcome.void
        states += outcome.states
        distinct += outcome.distinct
        failed += bool(outcome.failures)
        for text in outcome.failures:
            print(f"FAILED {text}\n", flush=True)
        if count % 100 == 0 or count == len(words):
            minutes = (time.monotonic() - started) / 60
            print(
                f"{count} of {len(words)} sequences ({void} void), {distinct:,} distinct states of "
                f"{states:,}, {failed} failed, {minutes:.1f} minutes",
                flush=True,
            )
    return failed


def outcomes(words: list[tuple[str, ...]], options: argparse.Namespace) -> Iterable[Outcome]:
    """What each of these sequences shows, in order, as it is known."""
    work = functools.partial(explore, options=options)
    if options.jobs == 1:
        yield from map(work, words)
        return
    with ProcessPoolExecutor(options.jobs, initializer=_quiet) as pool:
        yield from pool.map(work, words, chunksize=4)


def with_progress(words: list[tuple[str, ...]], options: argparse.Namespace) -> Iterable[Outcome]:
    """The same; what another run with this progress file has shown is not done again."""
    if options.progress is None:
        yield from outcomes(words, options)
        return
    done: dict[str, Outcome] = {}
    if os.path.exists(options.progress):
        with open(options.progress) as file:
            for line in file:
                name, outcome = json.loads(line)
                done[name] = Outcome(*outcome)
    for word in words:
        if ",".join(word) in done:
            yield done[",".join(word)]
    left = [word for word in words if ",".join(word) not in done]
    with open(options.progress, "a") as file:
        for word, outcome in zip(left, outcomes(left, options), strict=True):
            print(json.dumps([",".join(word), outcome]), file=file, flush=True)
            yield outcome


def _replay(names: tuple[str, ...], text: str) -> str:
    state = text.split("state ")[1].split(maxsplit=1)[0] if "state " in text else ""
    return (
        f"    again: PYTHONPATH=tests python -m crash.explore --sequence {','.join(names)}"
        f"{' --state ' + state if state else ''} --keep /tmp/crashed"
    )


def _quiet() -> None:
    logging.disable(logging.CRITICAL)  # recovery logs what it cuts; here that is routine


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=1, help="all sequences up to so many")
    parser.add_argument("--sample", type=int, default=0, help="and so many one longer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--visits", type=int, default=1 << 40, help="of each, about so many states")
    parser.add_argument("--sequence", help="this one alone, operations with commas between")
    parser.add_argument("--state", default="", help="this state alone, by its first digits")
    parser.add_argument("--progress", help="a file of what is done: begun again, it goes on there")
    parser.add_argument("--keep", help="a directory for what the crash left in the first failure")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    _quiet()
    sys.exit(1 if run(parse(sys.argv[1:])) else 0)
