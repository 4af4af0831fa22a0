"""The erasure in progress, on disk, so that a crash cannot leave it half done.

One small file in the data directory: written before the first byte is destroyed, removed after the
last, and completed by whoever opens the directory next. Format: docs/formats/erasure.md.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import xxhash

from merkql.errors import CorruptionError
from merkql.storage import layout
from merkql.storage.files import Files, read_file, replace_file

FORM = "merkql-erasure/v1"
RANGES_MAX = 10_000  # of one erasure; more are several


@dataclass(frozen=True, slots=True)
class ErasureRecord:
    """Which records were erased, when and by whom; nothing of their content.

    ``offsets`` are inclusive ranges. ``by`` and ``reason`` come from the caller; ``user`` (of the
    effective ``uid``), ``pid`` and ``host`` are those of the process.
    """

    topic: str
    topic_id: str
    partition: int
    offsets: tuple[tuple[int, int], ...]
    time_ms: int
    by: str | None
    reason: str | None
    user: str
    uid: int
    pid: int
    host: str

    def to_json(self) -> str:
        """One line of JSON; equal erasures give equal text."""
        return json.dumps({"format": FORM} | asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> ErasureRecord:
        """What ``to_json`` wrote; ``ValueError`` for anything else."""
        content = json.loads(text)
        if not isinstance(content, dict) or content.pop("format", None) != FORM:
            raise ValueError(f"not a {FORM}")
        try:
            ranges = tuple((first, last) for first, last in content.pop("offsets"))
            record = cls(offsets=ranges, **content)
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a {FORM}: {error}") from None
        numbers = [record.partition, *(one for pair in ranges for one in pair)]
        if not all(isinstance(one, int) and one >= 0 for one in numbers):
            raise ValueError("a partition and offsets are numbers")
        bytes.fromhex(record.topic_id)
        return record

    def all_offsets(self) -> list[int]:
        """Every offset, in order."""
        return [offset for first, last in self.offsets for offset in range(first, last + 1)]


def write_erasing(files: Files, root: str, erasures: list[ErasureRecord]) -> None:
    """Commit to these erasures: from here on they are completed; durable when it returns."""
    text = "".join(f"{one.to_json()}\n" for one in erasures).encode()
    replace_file(files, layout.erasing(root), text + _check_of(text))


def read_erasing(files: Files, root: str) -> list[ErasureRecord]:
    """The erasures begun and not completed; ``CorruptionError`` if the file is damaged."""
    path = layout.erasing(root)
    try:
        content = read_file(files, path)
    except FileNotFoundError:
        return []
    text = content[:-17]
    try:
        if content[-17:] != _check_of(text):
            raise ValueError("it does not check out")
        return [ErasureRecord.from_json(line) for line in text.splitlines()]
    except ValueError as error:
        reason = f"{error}; remove it and erase again what was being erased"
        raise CorruptionError(path, 0, reason) from None


def remove_erasing(files: Files, root: str) -> None:
    """All of them are done; durable."""
    if files.status(layout.erasing(root)) is not None:
        files.remove(layout.erasing(root))
        files.sync_directory(root)


def _check_of(text: bytes) -> bytes:
    return xxhash.xxh3_64_hexdigest(text).encode() + b"\n"
