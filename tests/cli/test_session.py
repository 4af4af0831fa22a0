"""The terminal session in the README is what happens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_session_in_the_readme_is_what_happens() -> None:
    """To who reads from the top: it once stumbled over the log of the page's own example."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools/record_session.py", "--check"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
