"""Where `consume` begins and ends in a partition: kcat's ``-o``, and times."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from dataclasses import dataclass

from merkql.cli.quantities import moment
from merkql.errors import OffsetOutOfRangeError
from merkql.storage.partition import Partition

_WORDS = {
    "beginning": "beginning",
    "earliest": "beginning",
    "end": "end",
    "latest": "end",
    "stored": "stored",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One ``-o``: what kind, and its number, if it has one."""

    kind: str  # beginning, end, stored, offset, last, since, until
    number: int = 0


def asked(text: str) -> Asked:
    """A word, ``42``, ``-10`` (the last ten), ``s@TIME`` (since) or ``e@TIME`` (until)."""
    if text in _WORDS:
        return Asked(_WORDS[text])
    if text[:2] in ("s@", "e@"):
        return Asked("since" if text[0] == "s" else "until", moment(text[2:]))
    if re.fullmatch(r"-?\d{1,19}", text):
        number = int(text)
        return Asked("last", -number) if text[0] == "-" else Asked("offset", number)
    raise ArgumentTypeError(
        f"{text!r} is not an offset: write beginning, end, stored, 42, -10 for the last ten, "
        "s@TIME or e@TIME"
    )


def begin_of(partition: Partition, begin: Asked, *, is_only: bool) -> int:
    """The offset to begin at. What is retained away begins at the first record kept.

    Raises ``OffsetOutOfRangeError`` for an offset past the end of the only partition.
    """
    first, end = partition.start_offset, partition.end_offset
    if begin.kind == "end":
        return end
    if begin.kind == "last":
        return max(first, end - begin.number)
    if begin.kind == "since":
        found = partition.offset_for_timestamp(begin.number)
        return end if found is None else found
    if begin.kind == "offset":
        if begin.number > end and is_only:
            raise OffsetOutOfRangeError(begin.number, first, end)
        return min(max(first, begin.number), end)
    return first
