"""What docs say of failures is held by tests that exist, and quotes what the source says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


def rows_of(page: str, begin: str, end: str) -> list[list[str]]:
    """The cells of a table's rows."""
    text = (ROOT / "docs" / page).read_text()
    table = text[text.index(begin) : text.index(end) if end else len(text)]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return rows[1:]


@cache
def functions_of_tests() -> set[str]:
    sources = (ROOT / "tests").rglob("*.py")
    return {name for path in sources for name in re.findall(r"def (\w+)\(", path.read_text())}


def check_held(row: list[str]) -> None:
    found = 0
    for path, names in re.findall(r"`([\w/]+\.py)`: ((?:`test_\w+`(?:, )?)+)", row[-1]):
        source = (ROOT / "tests" / path).read_text()
        for name in re.findall(r"`(test_\w+)`", names):
            assert f"def {name}(" in source, f"{row[0]}: {name} is not in {path}"
            found += 1
    assert found, f"no test is named for {row[0]}"


def test_no_row_without_a_test() -> None:
    failures = rows_of("durability.md", "## Failures", "## File systems")
    assert len(failures) > 20
    losses = rows_of("durability.md", "## What each durability loses", "## How it holds")
    assert len(losses) > 5
    for row in [*failures, *losses]:
        check_held(row)


def test_each_bug_that_was_found_has_its_test() -> None:
    bugs = rows_of("testing.md", "## Consistency bugs found", "")
    assert len(bugs) > 40
    for row in bugs:
        assert len(row) == 3, row
        names = re.findall(r"`([\w./]+)`", row[2])
        assert names, f"no test is named for: {row[0]}"
        for name in names:
            there = (
                (ROOT / "tests" / name).exists() if "/" in name else name in functions_of_tests()
            )
            assert there, f"{row[0]}: {name} is not there"


@cache
def texts_of_source() -> str:
    """Every string of the library, what is put into them as an ellipsis."""
    return "\n".join(text for path in (ROOT / "src").rglob("*.py") for text in strings(path))


def strings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub("%[ds]", "…", node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "…" for part in node.values
            )


def test_the_operators_page_quotes_what_the_library_says() -> None:
    rows = rows_of("guide/failure-modes.md", "# When", "**A copy.**")
    assert len(rows) > 15
    quoted = 0
    for row in rows:
        said = re.findall(r"\*([^*]+)\*", row[0]) + re.findall(r"`\w+Error: ([^`]+)`", row[0])
        for text in said:
            for part in re.split(r"…|process \d+|\d+|[(:,]", text):
                words = re.sub(r"^\W+|\W+$", "", part)
                if len(words.split()) > 2 and "[Errno" not in text:  # the system's words
                    assert words in texts_of_source(), f"nobody says {words!r}"
                    quoted += 1
    assert quoted > 5
