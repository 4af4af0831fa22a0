"""Records as bytes for standard output: text, kcat's format strings, JSON; and what people type
for delimiters. JSON is lossless: what is not UTF-8 stands in base64 under another name."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from merkql._core.record import Record

_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\udc80-\udcff]")
_ERASED = ',"erased":true'
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Renderer = Callable[[Iterable[Record]], bytes]
Field = Callable[[Record], bytes]


def unescaped(text: str) -> bytes:
    r"""What a delimiter or format stands for: ``\n``, ``\t``, ``\x1f`` and the like resolved."""

    def resolve(match: re.Match[bytes]) -> bytes:
        code = match[1]
        if code[:1] == b"x" and len(code) > 1:
            return bytes([int(code[1:], 16)])
        if code.isdigit():
            return bytes([int(code, 8) & 0xFF])
        return _LETTERS.get(code, match[0])

    return _ESCAPE.sub(resolve, os.fsencode(text))


def separator(text: str) -> bytes:
    """A key separator or delimiter that was typed: at least a byte."""
    if not text:
        raise ArgumentTypeError("it has at least one character")
    return unescaped(text)


@dataclass(frozen=True, slots=True)
class TextStyle:
    """How records look as text; kcat's options of the same letters."""

    delimiter: bytes = b"\n"  # -D
    key_separator: bytes | None = None  # -K
    null: bytes = b""  # b"NULL" with -Z
    with_offset: bool = False  # -O
    visible: bool = False  # for people: control characters and stray bytes are spelled out


def text_renderer(style: TextStyle) -> Renderer:
    """Values, a delimiter behind each; key and separator before them where asked for."""
    null, delimiter = style.null, style.delimiter
    value, key = _nullable("value", style), _nullable("key", style)
    if style.with_offset or style.key_separator is not None:
        between = style.key_separator or b"\t"
        prefix: list[Field] = [lambda r: b"%d" % r.offset] if style.with_offset else []
        prefix += [key] if style.key_separator is not None else []
        fields = [*prefix, value]
        return lambda records: b"".join(
            [between.join([field(r) for field in fields]) + delimiter for r in records]
        )
    if style.visible:
        return lambda records: b"".join([value(r) + delimiter for r in records])
    return lambda records: b"".join(
        [(null if (v := r.value) is None else v) + delimiter for r in records]
    )


def format_renderer(template: str, style: TextStyle) -> Renderer:
    """kcat's ``-f``, compiled; raises ``ArgumentTypeError`` for a token that is none."""
    tokens = _tokens(style)
    parts: list[bytes | Field] = []
    at, pattern = 0, template
    while (found := pattern.find("%", at)) >= 0:
        parts.append(unescaped(pattern[at:found]))
        letter = pattern[found + 1 : found + 2]
        if letter == "%":
            parts.append(b"%")
        elif letter in tokens:
            parts.append(tokens[letter])
        else:
            known = " ".join(f"%{one}" for one in tokens)
            raise ArgumentTypeError(f"no token %{letter} in a format; there are {known} %%")
        at = found + 2
    parts.append(unescaped(pattern[at:]))
    return lambda records: b"".join(
        [part if isinstance(part, bytes) else part(r) for r in records for part in parts]
    )


def json_renderer(records: Iterable[Record]) -> bytes:
    """One JSON object a line: the envelope that ``produce --json`` takes back."""
    return "".join(map(_json_line, records)).encode()


def kcat_json_renderer(records: Iterable[Record]) -> bytes:
    """The same with kcat's names, which ``produce --json`` takes back too."""
    return "".join(map(_kcat_json_line, records)).encode()


def json_object(record: Record) -> dict[str, object]:
    """A record as JSON has it: ``value``, or ``value_base64`` for what is not UTF-8."""
    made: dict[str, object] = json.loads(_json_line(record))
    return made


def _json_line(record: Record) -> str:
    """Put together by hand, which takes a third of the time the encoder takes with a dict."""
    return (
        f'{{"topic":"{record.topic}","partition":{record.partition},"offset":{record.offset},'
        f'"timestamp_ms":{record.timestamp_ms},{_named("key", record.key)},'
        f'{_named("value", record.value)},"headers":[{_header_objects(record)}]'
        f"{_ERASED if record.erased else ''}}}\n"
    )


def _kcat_json_line(record: Record) -> str:
    """As ``kcat -J`` has it; without the broker's number, as there is none."""
    return (
        f'{{"topic":"{record.topic}","partition":{record.partition},"offset":{record.offset},'
        f'"tstype":"create","ts":{record.timestamp_ms}{_kcat_headers(record)},'
        f"{_named('key', record.key)},{_named('payload', record.value)}"
        f"{_ERASED if record.erased else ''}}}\n"
    )


def _kcat_headers(record: Record) -> str:
    """Names and values in one list; objects where a value is no text, which kcat cannot say."""
    if not record.headers:
        return ""
    try:
        flat = [
            text
            for name, value in record.headers
            for text in (name, None if value is None else value.decode())
        ]
    except UnicodeDecodeError:
        return f',"headers":[{_header_objects(record)}]'
    return f',"headers":{_encode(flat)}'


def _header_objects(record: Record) -> str:
    return ",".join(
        f'{{"name":{_encode(name)},{_named("value", value)}}}' for name, value in record.headers
    )


def visible(content: bytes) -> str:
    """Bytes as text for a terminal, on which they must not act: what is no character is spelled."""
    return _CONTROL.sub(_spelled, content.decode("utf-8", "surrogateescape"))


def _spelled(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]) & 0xFF:02x}"


def _named(name: str, content: bytes | None) -> str:
    if content is None:
        return f'"{name}":null'
    try:
        return f'"{name}":{_encode(content.decode())}'
    except UnicodeDecodeError:
        return f'"{name}_base64":"{base64.b64encode(content).decode()}"'


def _nullable(name: str, style: TextStyle) -> Field:
    def field(record: Record) -> bytes:
        content: bytes | None = getattr(record, name)
        if content is None:
            return style.null
        return visible(content).encode() if style.visible else content

    return field


def _tokens(style: TextStyle) -> dict[str, Field]:
    def length(content: bytes | None) -> int:
        return -1 if content is None else len(content)

    def headers(record: Record) -> bytes:
        pairs = [f"{name}=".encode() + (b"NULL" if v is None else v) for name, v in record.headers]
        text = b",".join(pairs)
        return visible(text).encode() if style.visible else text

    return {
        "s": _nullable("value", style),
        "S": lambda r: b"%d" % length(r.value),
        "R": lambda r: struct.pack(">i", length(r.value)),
        "k": _nullable("key", style),
        "K": lambda r: b"%d" % length(r.key),
        "T": lambda r: b"%d" % r.timestamp_ms,
        "h": headers,
        "t": lambda r: r.topic.encode(),
        "p": lambda r: b"%d" % r.partition,
        "o": lambda r: b"%d" % r.offset,
    }
