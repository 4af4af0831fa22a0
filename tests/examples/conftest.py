"""Runs the examples as a user would: as programs of their own, in an empty directory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Completed = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def run_example(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Completed]:
    def run(name: str, *arguments: str | Path, script: Path | None = None) -> Completed:
        command = [sys.executable, str(script or ROOT / "examples" / name), *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=tmp_path_factory.mktemp("cwd"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
