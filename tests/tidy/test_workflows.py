"""What runs in CI is fixed: a tag of somebody's action can be moved, a commit cannot."""

from __future__ import annotations

import re
from pathlib import Path

WORKFLOWS = sorted((Path(__file__).parents[2] / ".github/workflows").glob("*.yml"))
USES = re.compile(r"^\s*-? *uses: *(.*)$", re.MULTILINE)
PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def test_actions_are_pinned_by_their_commit() -> None:
    used = [text for path in WORKFLOWS for text in USES.findall(path.read_text())]
    assert used
    assert [text for text in used if not PINNED.fullmatch(text)] == []
