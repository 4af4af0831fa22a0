"""Every page of the guide, and the README, runs: its python blocks in order, as one program."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOR_OPERATORS = {"failure-modes.md"}  # prose and tables alone
PAGES = [
    ROOT / "README.md",
    *sorted(p for p in (ROOT / "docs/guide").glob("*.md") if p.name not in FOR_OPERATORS),
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks_on_their_lines(text: str) -> str:
    """The blocks as one program in which every line has the number it has on the page."""
    lines = [""] * text.count("\n")
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        own = block[1].splitlines()
        lines[first : first + len(own)] = own
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_runs(page: Path, tmp_path: Path) -> None:
    program = blocks_on_their_lines(page.read_text())
    assert program.strip(), f"{page} has no python block"
    # The program goes in by -c, so that its directory is empty but for what it makes.
    runner = f"exec(compile({program!r}, {str(page)!r}, 'exec'))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", runner],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_readme_begins_with_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert [line.partition("#")[0].strip() for line in lines[2:5]] == [
        "```",
        "make demo",
        "make test",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
