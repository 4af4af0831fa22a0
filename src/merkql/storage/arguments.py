"""Checks the offsets and counts that a partition is asked about."""

from __future__ import annotations


def check_offset(value: object, name: str) -> None:
    """``TypeError`` or ``ValueError`` unless it is an int of at least 0."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is an int, not {value!r}")
    if value < 0:
        raise ValueError(f"{name} is at least 0, not {value}")


def check_positive(value: object, name: str) -> None:
    """As ``check_offset``, of at least 1."""
    check_offset(value, name)
    if not value:
        raise ValueError(f"{name} is at least 1, not 0")


def check_range(start: int, stop: int) -> None:
    """As ``check_offset`` for both, and ``stop`` is not below ``start``."""
    check_offset(start, "start")
    check_offset(stop, "stop")
    if stop < start:
        raise ValueError(f"stop is at least start, {start}, not {stop}")
