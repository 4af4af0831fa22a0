"""Tries for twenty minutes to make the log lose something; prints one table.

    PYTHONPATH=tests python -m soak.run [--share 0.1] [--seed N] [--only kills,ext4]

What cannot be done on this machine is left out, with the reason.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from crash import explore
from fuzz.run import fuzz
from fuzz.targets import TARGETS
from soak import flips, kills, power_cuts, syscalls

KILLS, CUTS, FLIPS_SHARE, FUZZ_S = 1000, 200, 0.15, 3
ROWS = {
    "states": "crash states recovered from",
    "kills": "processes killed with SIGKILL",
    "cuts": "power cuts, on ext4 and XFS",
    "faults": "system calls made to fail, or the last",
    "flips": "bits turned",
    "noticed": "of these noticed, the rest harmless",
    "fuzzed": "wrong inputs decoded",
    "acknowledged": "records acknowledged",
    "read": "records shown to other processes",
    "commits": "offsets committed",
    "lost": "lost",
    "bad": "bad bytes served",
}

Part = Callable[[float, int], Counter[str]]


def crash_states(share: float, seed: int) -> Counter[str]:
    options = explore.parse(["--length", "1", "--seed", str(seed), "--sample", "20"])
    options.visits = int(400 * share)
    options.jobs = os.cpu_count() or 1
    outcomes = list(explore.outcomes(explore.chosen(options), options))
    failures = [text for outcome in outcomes for text in outcome.failures]
    assert not failures, "\n".join(failures)
    return Counter(states=sum(outcome.distinct for outcome in outcomes))


def fuzzing(share: float, seed: int) -> Counter[str]:
    """Blindly, for a few seconds each; `make fuzz` is guided and takes its time."""
    counts: Counter[str] = Counter()
    for name, target in TARGETS.items():
        executions, findings = fuzz(name, target, FUZZ_S * share, seed, Path("build/fuzz/found"))
        assert not findings, f"{name}: {findings} findings, kept in build/fuzz/found"
        counts["fuzzed"] += executions
    return counts


PARTS: dict[str, tuple[Callable[[], str], Part]] = {
    "states": (lambda: "", crash_states),
    "kills": (lambda: "", lambda share, seed: kills.run(int(KILLS * share), seed)),
    "ext4": (
        lambda: power_cuts.why_not("ext4"),
        lambda share, seed: power_cuts.run("ext4", int(CUTS * share), seed),
    ),
    "xfs": (
        lambda: power_cuts.why_not("xfs"),
        lambda share, seed: power_cuts.run("xfs", int(CUTS * share), seed),
    ),
    "faults": (syscalls.why_not, lambda share, seed: syscalls.run(share)),
    "fuzz": (lambda: "", fuzzing),
    "flips": (lambda: "", lambda share, seed: flips.run(FLIPS_SHARE * share, seed)),
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of everything")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(PARTS))
    options = parser.parse_args(arguments)
    totals: Counter[str] = Counter()
    failed = []
    for name in options.only.split(","):
        why_not, part = PARTS[name]
        started = time.monotonic()
        reason = why_not()
        if reason:
            print(f"{name}: left out: {reason}", flush=True)
            continue
        try:
            totals.update(part(options.share, options.seed))
        except AssertionError as error:
            failed.append(name)
            print(f"{name}: FAILED, seed {options.seed}\n{error}", flush=True)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    print()
    for row, text in ROWS.items():
        print(f"{totals[row]:>12,}  {text}")
    if failed:
        print(f"\nbroken promises in: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
