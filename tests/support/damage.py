"""Hurts files on purpose: verbs for tests."""

from __future__ import annotations

from pathlib import Path


def flip_byte(path: Path, position: int) -> None:
    """Change one byte; a negative position counts from the end."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0x41
    path.write_bytes(content)


def shorten(path: Path, size: int) -> None:
    """Cut so many bytes off the end."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - size])


def append_garbage(path: Path, garbage: bytes) -> None:
    with path.open("ab") as file:
        file.write(garbage)
