"""Standard input made into records: lines with or without keys, or a JSON object a line.

Reads what is there without waiting for more, so that what trickles in is written as it comes.
"""

from __future__ import annotations

import base64
import binascii
import json
import select
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from merkql._core.record import ProducerRecord
from merkql.cli.terminal import RawInput
from merkql.errors import RecordTooLargeError

READ_SIZE = 1 << 20
# What may stand in a JSON line. The second row is kcat's names; the third says where a record was.
_FIELDS = (
    {"key", "value", "headers", "timestamp_ms", "key_base64", "value_base64"}
    | {"payload", "payload_base64", "ts", "tstype", "broker"}
    | {"topic", "partition", "offset"}
)
_KCATS = (("payload", "value"), ("payload_base64", "value_base64"), ("ts", "timestamp_ms"))
Header = tuple[str, bytes | None]


class LineError(ValueError):
    """A line of the input that is no record; the number counts from 1."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number:,} of the input: {reason}")


class Lines:
    """Delimited pieces of a stream, as many at a time as are there. Memory: the longest piece."""

    def __init__(self, stream: RawInput, delimiter: bytes, size_max: int) -> None:
        self._stream = stream
        self._delimiter = delimiter
        self._size_max = size_max
        self._begun: list[bytes] = []  # of a piece whose end has not come
        self._begun_size = 0

    def __iter__(self) -> Iterator[list[bytes]]:
        """Runs of pieces; the last may lack its delimiter. Raises ``RecordTooLargeError``."""
        while True:
            data = self._stream.read(READ_SIZE)
            if data is None:  # a non-blocking pipe, made so by somebody else
                select.select([self._stream], [], [])
                continue
            if not data:
                break
            pieces = self._split(data)
            if pieces:
                yield pieces
        rest = b"".join(self._begun)
        if rest:
            yield [rest]

    def has_more(self) -> bool:
        """Whether more can be read now without waiting."""
        try:
            return bool(select.select([self._stream], [], [], 0)[0])
        except (OSError, ValueError):
            return True  # not a file of the system: all of it is there

    def _split(self, data: bytes) -> list[bytes]:
        overlap = len(self._delimiter) - 1
        seam = self._begun[-1][-overlap:] + data[:overlap] if self._begun and overlap else b""
        if self._delimiter not in data and self._delimiter not in seam:
            self._begun.append(data)
            self._begun_size += len(data)
            if self._begun_size > self._size_max:
                raise RecordTooLargeError(self._begun_size, self._size_max)
            return []
        pieces = b"".join([*self._begun, data]).split(self._delimiter)
        rest = pieces.pop()
        self._begun, self._begun_size = ([rest], len(rest)) if rest else ([], 0)
        return pieces


@dataclass(frozen=True, slots=True)
class LineStyle:
    """What a line means; kcat's options of the same letters."""

    topic: str
    partition: int | None = None  # -p
    key_separator: bytes | None = None  # -K
    key: bytes | None = None  # -k
    headers: tuple[Header, ...] = ()  # -H
    empty_is_null: bool = False  # -Z

    @property
    def is_plain(self) -> bool:
        """Whether a line is a value and nothing more."""
        return (self.key_separator, self.key, self.headers) == (None, None, ())

    def parser(self, *, is_json: bool) -> Callable[[bytes, int], ProducerRecord | None]:
        """What makes a record of a line and its number; None of a blank line of JSON."""
        return self._from_json if is_json else self._from_text

    def value_of(self, content: bytes) -> bytes | None:
        """The content, or null for nothing where that is asked for."""
        return None if self.empty_is_null and not content else content

    def _from_text(self, line: bytes, _: int) -> ProducerRecord:
        key, value = self.key, line
        if self.key_separator is not None:
            before, found, after = line.partition(self.key_separator)
            if found:
                value = after
                own = self.value_of(before)
                key = self.key if own is None else own
        return ProducerRecord(
            self.topic, self.value_of(value), key, self.headers, partition=self.partition
        )

    def _from_json(self, line: bytes, number: int) -> ProducerRecord | None:
        if not line.strip():
            return None
        try:
            content = json.loads(line)
        except ValueError as error:
            reason = f"not JSON: {error} (an object is one line, as `jq -c` prints it)"
            raise LineError(number, reason) from None
        if not isinstance(content, dict):
            raise LineError(number, 'not a JSON object such as {"key": "a", "value": "b"}')
        if content.get("erased"):
            raise LineError(number, "an erased record: there is nothing to write")
        unknown = sorted(set(content) - _FIELDS)
        if unknown:
            known = "key, value, headers, timestamp_ms, key_base64 and value_base64"
            raise LineError(number, f"no field {unknown[0]!r}; there are {known}")
        try:
            return self._from_object(content)
        except (ValueError, TypeError) as error:
            raise LineError(number, str(error)) from None

    def _from_object(self, content: dict[str, Any]) -> ProducerRecord:
        for kcats, ours in _KCATS:
            if kcats in content:
                content.setdefault(ours, content.pop(kcats))
        if "value" not in content and "value_base64" not in content:
            raise ValueError("no value (null makes a tombstone)")
        key = _content(content, "key")
        return ProducerRecord(
            self.topic,
            _content(content, "value"),
            self.key if key is None else key,
            [*self.headers, *_headers(content.get("headers"))],
            partition=self.partition,
            timestamp_ms=content.get("timestamp_ms"),
        )


def _content(given: dict[str, Any], name: str) -> bytes | None:
    """Text as its UTF-8, base64 as its bytes, other JSON as its text."""
    encoded = given.get(f"{name}_base64")
    if encoded is not None:
        if name in given:
            raise ValueError(f"{name} and {name}_base64: one of them")
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise ValueError(f"{name}_base64 is not base64") from None
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} has half of a surrogate pair, which is no character") from None


def _headers(given: Any) -> list[Header]:
    """Our list of objects, an object of names, or kcat's flat list of names and values."""
    if given is None:
        return []
    if isinstance(given, dict):
        return [(name, _content({"value": value}, "value")) for name, value in given.items()]
    if isinstance(given, list) and all(isinstance(one, dict) and "name" in one for one in given):
        return [(one["name"], _content(one, "value")) for one in given]
    if isinstance(given, list) and len(given) % 2 == 0 and all(map(_is_text, given)):
        return [
            (name, _content({"value": v}, "value"))
            for name, v in zip(given[::2], given[1::2], strict=True)
        ]
    raise ValueError('headers are [{"name": "n", "value": "v"}] or {"n": "v"}')


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)
