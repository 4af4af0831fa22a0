"""Prints and draws the distribution of latencies that `benchmarks/latency.py` measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from benchmarks.distribution import PERCENTILES, Distribution, unexplained
from benchmarks.latency import LOADS, measure

SECONDS = {"full": 60.0, "quick": 5.0, "toy": 0.1}
BAR_WIDTH = 60
STEPS_AN_OCTAVE = 2


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def bars(distribution: Distribution) -> Iterator[str]:
    """One line a half octave of time; the bar's length is the logarithm of how many calls."""
    counts = Counter(
        math.floor(math.log2(max(call, 1) / 1e3) * STEPS_AN_OCTAVE) for call in distribution.calls
    )
    most = math.log1p(max(counts.values(), default=1))
    for step in range(min(counts, default=0), max(counts, default=-1) + 1):
        count = counts[step]
        bar = "#" * round(math.log1p(count) / most * BAR_WIDTH)
        upper = milliseconds(2 ** ((step + 1) / STEPS_AN_OCTAVE) / 1e6)
        yield f"  up to {upper:>9}  {count:>9,}  {bar}".rstrip()


def report(mode: str) -> Iterator[str]:
    """The lines of both loads: percentiles beside the probe's, pauses, and the drawing."""
    for load in LOADS:
        sends, probe = measure(load, SECONDS[mode])
        count = len(sends.calls)
        yield f"durable sends, {load}: {count:,} in {SECONDS[mode]:g} s (a bare sync beside them)"
        for name in PERCENTILES:
            ours, floor = sends.seconds(name), probe.seconds(name)
            yield f"  {name:6} {milliseconds(ours):>9}  ({milliseconds(floor)})"
        alone = unexplained(sends, probe)
        yield (
            f"  pauses above 50 ms: {len(sends.pauses)}, of which the disk does not explain "
            f"{len(alone)}{': ' if alone else ''}"
            + ", ".join(milliseconds((end - begin) / 1e9) for begin, end in alone)
        )
        yield from bars(sends)
        yield ""
