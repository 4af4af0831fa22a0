"""One line that says how far something is, redrawn for a person at a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable

DELAY_S = 1.0  # what ends sooner needs no bar
INTERVAL_S = 0.1
BAR_WIDTH = 30
WIDTH = 120


class Progress:
    """A bar, or a count where the whole is not known. ``write`` gets text for the terminal.

    Writes nothing before ``delay_s`` seconds, nothing at all unless ``is_shown``, and leaves an
    empty line when it ends. Cost of an update: a clock read.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        label: str,
        unit: str = "records",
        *,
        is_shown: bool,
        width: Callable[[], int] = lambda: WIDTH,
        delay_s: float = DELAY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label = label
        self._write = write
        self._unit = unit
        self._is_shown = is_shown
        self._width = width
        self._clock = clock
        self._started = clock()
        self._next = self._started + delay_s
        self._drawn = 0

    def update(self, done: int, total: int | None = None) -> None:
        """So much is done, of so much in all."""
        if not self._is_shown:
            return
        now = self._clock()
        if now >= self._next:
            self._next = now + INTERVAL_S
            line = self._line(done, total, now - self._started)
            self._draw(line[: self._width() - 1])  # a line that wraps cannot be drawn over

    def clear(self) -> None:
        """Take the line away; the next update may draw it again."""
        if self._drawn:
            self._write(f"\r{' ' * self._drawn}\r")
            self._drawn = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()
        self._is_shown = False

    def _draw(self, line: str) -> None:
        self._write(f"\r{line.ljust(self._drawn)}")
        self._drawn = len(line)

    def _line(self, done: int, total: int | None, seconds: float) -> str:
        rate = done / seconds if seconds > 0 else 0.0
        text = f"{self.label} "
        if total:
            share = min(1.0, done / total)
            bar = ("#" * int(BAR_WIDTH * share)).ljust(BAR_WIDTH, ".")
            text += f"[{bar}] {int(100 * share)} % "
        text += f"{done:,} {self._unit}, {rate:,.0f}/s"
        if total and 0 < done < total:
            text += f", {_minutes((total - done) / rate)} left"
        return text


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
