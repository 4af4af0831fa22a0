"""Feeds every decoder bytes that are a little wrong; a finding is printed and kept.

    PYTHONPATH=tests python -m fuzz.run [--seconds 30] [--seed 1] [--target batch]

Blind: no coverage guides it, as it does `fuzz.guided`, but it begins with what that kept, and
checksums are mended, so that mutations reach what is behind them.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import resource
import sys
import time
import traceback
from pathlib import Path

from fuzz.guided import kept
from fuzz.mutation import mutated
from fuzz.targets import TARGETS, Target

MEMORY_MAX = 512 << 20  # no input here is larger than 128 KiB, and none may cost more
SLOW_S = 5.0


def fuzz(name: str, target: Target, seconds: float, seed: int, keep: Path) -> tuple[int, int]:
    """Executions and findings."""
    draw = random.Random(f"{name}/{seed}")
    corpus = [*target.seeds(), *kept(name)]
    corpus += [path.read_bytes() for path in sorted((keep / name).glob("*"))]
    executions = findings = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and findings < 3:
        data = mutated(draw.choice(corpus), corpus, draw)
        started = time.monotonic()
        executions += 1
        try:
            with contextlib.suppress(*target.allowed):
                target.decode(data)
        except Exception:
            findings += 1
            _report(name, data, traceback.format_exc(limit=-4), keep)
        if time.monotonic() - started > SLOW_S:
            findings += 1
            _report(name, data, f"took {time.monotonic() - started:.1f} s", keep)
    return executions, findings


def _report(name: str, data: bytes, what: str, keep: Path) -> None:
    directory = keep / name
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{abs(hash(data)):016x}"
    path.write_bytes(data)
    print(f"FOUND in {name}: {path}\n{what}", flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="for each decoder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=sorted(TARGETS))
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="of findings")
    options = parser.parse_args(arguments)
    total = found = 0
    for name, target in TARGETS.items():
        if options.target in (None, name):
            executions, findings = fuzz(name, target, options.seconds, options.seed, options.keep)
            print(f"{name:12} {executions:>10,} executions, {findings} findings", flush=True)
            total, found = total + executions, found + findings
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print(f"{total:,} executions, {found} findings, at most {peak >> 20} MiB")
    return found + (peak > MEMORY_MAX)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
