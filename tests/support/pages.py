"""Reads the worked examples out of the format pages, so that tests hold the pages to the code."""

from __future__ import annotations

import re
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs" / "formats"
_BLOCK = re.compile(r"```hexdump(?: ([\w-]+))?\n(.*?)```", re.DOTALL)
_LINE = re.compile(r"^([0-9a-f]{8})  ((?:[0-9a-f]{2} +)*[0-9a-f]{2})", re.MULTILINE)


def worked_example(page: str, name: str = "") -> bytes:
    """The bytes of a page's hexdump; the one called ``name`` where it has several."""
    for found, block in _BLOCK.findall((PAGES / f"{page}.md").read_text()):
        if found == name:
            content = bytearray()
            for position, digits in _LINE.findall(block):
                assert int(position, 16) == len(content), f"{page}: gap before {position}"
                content += bytes.fromhex(digits)
            return bytes(content)
    raise AssertionError(f"docs/formats/{page}.md has no hexdump {name!r}")


def hexdump(content: bytes) -> str:
    """What stands in the pages, for writing them."""
    lines = []
    for position in range(0, len(content), 16):
        piece = content[position : position + 16]
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in piece)
        lines.append(f"{position:08x}  {piece.hex(' '):47s}  |{text}|")
    return "\n".join(lines)
