"""The times of many calls: percentiles, and which of them the disk explains."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field

PAUSE_NS = 50_000_000
SLOW_NS = 5_000_000  # a sync of the probe that may explain a part of a pause
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
Span = tuple[int, int]  # begin and end, in nanoseconds


@dataclass
class Distribution:
    """Nanoseconds of every call (a minute of them are a few MiB), and when the slow ones were."""

    calls: array[int] = field(default_factory=lambda: array("q"))
    slow: list[Span] = field(default_factory=list)

    def note(self, begin: int, end: int) -> None:
        """One call."""
        self.calls.append(end - begin)
        if end - begin > SLOW_NS:
            self.slow.append((begin, end))

    @property
    def pauses(self) -> list[Span]:
        """The calls that anybody would notice."""
        return [(begin, end) for begin, end in self.slow if end - begin > PAUSE_NS]

    def seconds(self, percentile: str) -> float:
        """The time that so many of the calls took at most."""
        rank = math.ceil(len(self.calls) * PERCENTILES[percentile])
        return sorted(self.calls)[rank - 1] / 1e9


def unexplained(sends: Distribution, probe: Distribution) -> list[Span]:
    """The pauses that slow syncs of the probe do not fill by half."""
    return [
        (begin, end)
        for begin, end in sends.pauses
        if 2 * sum(max(0, min(end, last) - max(begin, first)) for first, last in probe.slow)
        < end - begin
    ]
