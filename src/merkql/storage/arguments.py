"""Checks of offsets, counts and times that callers pass in."""

from __future__ import annotations

import os
import threading


def check_offset(value: object, name: str, least: int = 0) -> None:
    """``TypeError`` or ``ValueError`` unless it is an int, and not below the least there may be."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is an int, not {value!r}")
    if value < least:
        raise ValueError(f"{name} is at least {least}, not {value}")


def check_positive(value: object, name: str) -> None:
    """Like ``check_offset``, but at least 1."""
    check_offset(value, name, 1)


def check_range(start: int, stop: int, start_name: str = "start") -> None:
    """Like ``check_offset`` for both; ``stop`` must not be below ``start``."""
    check_offset(start, start_name)
    check_offset(stop, "stop")
    if stop < start:
        raise ValueError(f"stop is at least {start_name}, {start}, not {stop}")


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


def check_path(value: object, name: str) -> None:
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise TypeError(f"{name} is a str or a path of str, not {value!r}")


def check_callback(value: object, name: str) -> None:
    if value is not None and not callable(value):
        raise TypeError(f"{name} is a function, not {value!r}")


def as_key(value: object) -> bytes:
    """A key as records have it: UTF-8 for a str."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise TypeError(f"a key is bytes or str, not {value!r}")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"key cannot be encoded as UTF-8: {error}") from None


def check_kind(value: object, name: str, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is a {kind.__name__}, not {value!r}")
