"""Rows for people, in columns; the same rows as JSON, an object a line, for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from merkql.cli.terminal import Output

Row = Mapping[str, object]


def print_table(out: Output, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """A heading and a line a row; numbers to the right. A row names its values by column."""
    lines = [[_cell(row.get(column)) for column in columns] for row in rows]
    right = [all(_is_figure(line[i]) for line in lines) for i in range(len(columns))]
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    out.print(out.paint("bold", _line([c.upper() for c in columns], widths, right)))
    for line in lines:
        out.print(_line(line, widths, right))


def print_objects(out: Output, rows: Iterable[Row]) -> None:
    """Each row as a JSON object on a line of its own."""
    for row in rows:
        out.print(json.dumps(row))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _is_figure(cell: str) -> bool:
    return cell == "-" or cell[:1].isdigit()


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if at_right else cell.ljust(width)
        for cell, width, at_right in zip(cells, widths, right, strict=True)
    ]
    return "  ".join(padded).rstrip()
