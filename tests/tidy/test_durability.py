"""Each failure that docs/durability.md makes a promise about names the tests that hold it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_row_without_a_test() -> None:
    text = (ROOT / "docs" / "durability.md").read_text()
    table = text[text.index("## Failures") : text.index("## File systems")]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        held_by = row[4]
        found = 0
        for path, names in re.findall(r"`([\w/]+\.py)`: ((?:`test_\w+`(?:, )?)+)", held_by):
            source = (ROOT / "tests" / path).read_text()
            for name in re.findall(r"`(test_\w+)`", names):
                assert f"def {name}(" in source, f"{row[0]}: {name} is not in {path}"
                found += 1
        assert found, f"no test is named for {row[0]}"
