"""Checks what callers pass to a consumer: each error names the argument, its value and the fix."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypedDict, TypeVar

from merkql.assignment import Subscription
from merkql.positions import OFFSET_RESETS, TopicPartition
from merkql.storage import layout
from merkql.storage.arguments import check_seconds

if TYPE_CHECKING:
    from merkql.proved_reading import ProvedReading, Verify

COUNT_MAX = 1 << 31  # records or bytes of one call: practically no limit
OnChange = Callable[[list[TopicPartition]], object]
OnGap = Callable[[TopicPartition, int, int], object]
_Callback = TypeVar("_Callback", bound="Callable[..., object] | None")


class ConsumerOptions(TypedDict, total=False):
    """The options of ``Consumer``, as keyword arguments."""

    auto_commit: bool
    offset_reset: str
    max_records: int | None
    fetch_max_bytes: int
    on_gap: OnGap | None
    rebalance_timeout: float
    max_poll_interval: float
    verify: Verify | None
    clock: Callable[[], float]  # seconds, steady; for tests


def flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is a bool, not {value!r}")
    return value


def integer(name: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is an int, not {value!r}")
    return value


def count(name: str, value: int) -> int:
    if integer(name, value) < 1:
        raise ValueError(f"{name} is at least 1, not {value}")
    return min(value, COUNT_MAX)


def milliseconds(name: str, seconds: float) -> int:
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise TypeError(f"{name} is a number of seconds, not {seconds!r}")
    if not 0.001 <= seconds <= 1e9:
        raise ValueError(f"{name} is between 0.001 and 1e9 seconds, not {seconds}")
    return int(seconds * 1000)


def seconds_to_wait(timeout: float | None) -> float:
    checked = check_seconds(timeout, "timeout")
    return math.inf if checked is None else checked


def offsets(given: Mapping[tuple[str, int], int]) -> Mapping[tuple[str, int], int]:
    if not isinstance(given, Mapping):
        raise TypeError(f"offsets is a mapping of (topic, partition) to an offset, not {given!r}")
    return given


def wait_for_something(wait: float, *, is_idle: bool) -> None:
    if wait == math.inf and is_idle:
        raise RuntimeError("this would wait for ever: subscribe, or assign partitions, first")


def offset_reset(value: str) -> str:
    if value not in OFFSET_RESETS:
        choices = ", ".join(f'"{choice}"' for choice in OFFSET_RESETS)
        raise ValueError(f"offset_reset is one of {choices}, not {value!r}")
    return value


def callback(name: str, value: _Callback) -> _Callback:
    if value is not None and not callable(value):
        raise TypeError(f"{name} is a function, not {value!r}")
    return value


def partition(value: tuple[str, int]) -> TopicPartition:
    if not isinstance(value, tuple) or len(value) != 2:
        raise TypeError(f"a partition is named by (topic, number), not {value!r}")
    topic, number = value
    layout.check_name(topic, "topic")
    if integer("the number of a partition", number) < 0:
        raise ValueError(f"the number of a partition is not negative: {number}")
    return TopicPartition(topic, number)


def partitions(given: Iterable[tuple[str, int]]) -> list[TopicPartition]:
    if not isinstance(given, Iterable):
        raise TypeError(f"partitions is a list of (topic, number), not {given!r}")
    return sorted({partition(name) for name in given})


def subscription(topics: Iterable[str] | re.Pattern[str]) -> Subscription:
    if isinstance(topics, re.Pattern):
        if not isinstance(topics.pattern, str):
            raise TypeError(f"a pattern of topics is of str, not of bytes: {topics.pattern!r}")
        return Subscription(pattern=topics.pattern, pattern_flags=topics.flags)
    if isinstance(topics, (str, bytes)) or not isinstance(topics, Iterable):
        raise TypeError(f"topics is a list of names or a compiled pattern, not {topics!r}")
    names = frozenset(layout.check_name(name, "topic") for name in topics)
    if not names:
        raise ValueError("name at least one topic; unsubscribe() is for none")
    return Subscription(names)


def proving(verify: Verify | None) -> ProvedReading | None:
    """Reads for a consumer that must prove what it returns; None without ``verify``."""
    if verify is None:
        return None
    from merkql.proved_reading import ProvedReading  # here, as few consumers need it

    return ProvedReading(verify)
