"""Sizes, durations and times as people type and read them."""

from __future__ import annotations

import re
import time
from argparse import ArgumentTypeError
from datetime import datetime, timezone

_UNITS_OF_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_UNITS_OF_MS = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}


def size(text: str) -> int:
    """Bytes: ``1048576``, ``1M`` and ``1MiB`` are the same; ``1MB`` is a million."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b)?", text.strip().lower())
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not a size: write 4096, 64K, 128MiB or 1GB")
    number, unit, suffix = match.groups()
    factor = _UNITS_OF_BYTES[unit]
    if suffix == "b" and unit:
        factor = 1000 ** "kmgt".index(unit) * 1000
    return int(float(number) * factor) if "." in number else int(number) * factor


def duration(text: str) -> int:
    """Milliseconds: ``250ms``, ``90s``, ``10m``, ``36h``, ``7d``; a bare number is of them."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw]|)", text.strip().lower())
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not a duration: write 250ms, 90s, 10m, 36h or 7d")
    return int(float(match[1]) * _UNITS_OF_MS[match[2] or "ms"])


def moment(text: str) -> int:
    """Milliseconds since 1970: such a number, a date and time, or how long ago (``10m``)."""
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    ago = text.removesuffix("ago").strip()
    if re.fullmatch(r"\d+(\.\d+)?\s*(ms|[smhdw])", ago):
        return int(time.time() * 1000) - duration(ago)
    try:
        at = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is not a time: write 2026-01-31T12:00, with Z for UTC, milliseconds since "
            "1970, or how long ago, such as 10m"
        ) from None
    return int(at.timestamp() * 1000)


def count(text: str) -> int:
    """A number of at least 1."""
    if not re.fullmatch(r"\d{1,18}", text) or not int(text):
        raise ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def partition(text: str) -> int | None:
    """The number of a partition; None for -1, kcat's any."""
    if text == "-1":
        return None
    if not re.fullmatch(r"\d{1,9}", text):
        raise ArgumentTypeError(f"{text!r} is not the number of a partition")
    return int(text)


def counted(number: int, what: str) -> str:
    """``1 record``, ``1,200 records``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def bytes_text(number: int) -> str:
    """A size for people: ``9.1 MiB``."""
    value, units = float(number), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{number} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def duration_text(milliseconds: int) -> str:
    """A duration for people, in the largest unit that divides it: ``7d``."""
    for unit in ("d", "h", "m", "s"):
        if milliseconds % _UNITS_OF_MS[unit] == 0:
            return f"{milliseconds // _UNITS_OF_MS[unit]}{unit}"
    return f"{milliseconds}ms"


def moment_text(timestamp_ms: int) -> str:
    """A time for people and programs, UTC; the number itself where no calendar reaches."""
    try:
        at = datetime.fromtimestamp(timestamp_ms / 1000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return str(timestamp_ms)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{timestamp_ms % 1000:03}Z"
