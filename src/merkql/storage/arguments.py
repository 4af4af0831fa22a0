"""Checks of offsets, counts and times that callers pass in."""

from __future__ import annotations

import threading


def check_offset(value: object, name: str) -> None:
    """``TypeError`` or ``ValueError`` unless it is an int of at least 0."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is an int, not {value!r}")
    if value < 0:
        raise ValueError(f"{name} is at least 0, not {value}")


def check_positive(value: object, name: str) -> None:
    """Like ``check_offset``, but at least 1."""
    check_offset(value, name)
    if not value:
        raise ValueError(f"{name} is at least 1, not 0")


def check_range(start: int, stop: int) -> None:
    """Like ``check_offset`` for both; ``stop`` must not be below ``start``."""
    check_offset(start, "start")
    check_offset(stop, "stop")
    if stop < start:
        raise ValueError(f"stop is at least start, {start}, not {stop}")


def check_seconds(value: float | None, name: str) -> float | None:
    """A timeout in seconds; None for no timeout, or one longer than the system can count."""
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} is a number of seconds or None, not {value!r}")
    if not value >= 0:  # NaN neither
        raise ValueError(f"{name} is not negative, but {value}; None waits without end")
    return value if value < threading.TIMEOUT_MAX else None


def check_between(value: object, name: str, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is an int, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} is between {low} and {high}, not {value}")


def check_choice(value: object, name: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(map(repr, choices))}, not {value!r}")


def check_kind(value: object, name: str, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is a {kind.__name__}, not {value!r}")
