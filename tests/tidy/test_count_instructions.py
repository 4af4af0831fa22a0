"""The nightly count of instructions: what it compares, what it fails on. valgrind is not needed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[2] / "tools/count_instructions.py"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("count_instructions", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "count_instructions", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.shutil, "which", lambda name: name)
    monkeypatch.setattr(module, "machine", lambda: "this one")
    return module


def count(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, value: int, history: Path) -> int:
    monkeypatch.setattr(tool, "instructions_of", lambda name: value)
    status: int = tool.main(["--history", str(history), "--only", "send"])
    return status


def test_a_fifth_more_than_before_fails_and_less_does_not(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    history = tmp_path / "history"
    for value, status in ((1000, 0), (1000, 0), (1190, 0), (1210, 1), (500, 0)):
        assert count(tool, monkeypatch, value, history) == status, value
    kept = [json.loads(line)["instructions"] for line in history.read_text().splitlines()]
    assert kept == [{"send": value} for value in (1000, 1000, 1190, 1210, 500)]


def test_runs_of_another_machine_are_not_compared_with(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    history = tmp_path / "history"
    assert count(tool, monkeypatch, 1000, history) == 0
    monkeypatch.setattr(tool, "machine", lambda: "another one")
    assert count(tool, monkeypatch, 5000, history) == 0


@pytest.mark.parametrize("name", ["poll", "proof", "read", "send", "send_batch", "temporary"])
def test_workloads_run(tool: ModuleType, name: str) -> None:
    tool.run(name, 1)
