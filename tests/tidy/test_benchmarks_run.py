"""Every benchmark and every row of the table runs once at toy size, so that they cannot rot.

Sizes come from each class's `toy`; figures are not looked at, only that there are some.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "asv_benchmarks"
PREFIXES = ("time_", "track_", "peakmem_", "mem_")


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(FOLDER))
    disk = importlib.import_module("benchmarks.disk")
    monkeypatch.setattr(disk, "BASE", tmp_path)
    monkeypatch.setattr(disk, "FILE_BYTES", 1 << 20)
    logger = logging.getLogger("merkql")
    level = logger.level
    yield
    logger.setLevel(level)  # the table quietens it, for a process of its own


def benchmark_classes() -> list[tuple[str, str]]:
    """The classes of benchmarks by text: importing them waits until a test runs."""
    return [
        (path.stem, line.split()[1].rstrip(":"))
        for path in sorted((FOLDER / "benchmarks").glob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("class ") and any(f"def {p}" in path.read_text() for p in PREFIXES)
    ]


def functions(benchmark: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(benchmark) if name.startswith(PREFIXES)]


def combinations(instance: Any) -> Iterator[tuple[Any, ...]]:
    params = getattr(instance, "params", [])
    lists = params if params and isinstance(params[0], list) else [params] if params else []
    return itertools.product(*lists)


@pytest.mark.parametrize(("module", "name"), benchmark_classes())
def test_benchmark_runs_at_toy_size(module: str, name: str) -> None:
    benchmark = getattr(importlib.import_module(f"benchmarks.{module}"), name)
    assert functions(benchmark), f"{name} has nothing to measure"
    probe = benchmark()
    vars(probe).update(benchmark.toy)
    for params in combinations(probe):
        instance = benchmark()
        vars(instance).update(benchmark.toy)
        getattr(instance, "setup", lambda *_: None)(*params)
        try:
            for function in functions(benchmark):
                value = getattr(instance, function)(*params)
                if function.startswith("track_"):
                    assert value >= 0
                else:
                    assert instance.per_call > 0
        finally:
            getattr(instance, "teardown", lambda *_: None)(*params)


def test_rows_name_benchmarks_that_exist() -> None:
    rows: ModuleType = importlib.import_module("rows")
    for mode in ("full", "quick", "toy"):
        for row in rows.all_rows(mode):
            for subject in (row.ours, *row.beside.values()):
                module, name, function = subject.benchmark.split(".")
                benchmark = getattr(importlib.import_module(f"benchmarks.{module}"), name)
                assert function in functions(benchmark), subject.benchmark
            assert {aim.of for aim in row.aims} <= {"", *row.beside}, row.title


def test_table_prints_figures_and_keeps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = importlib.import_module("run")
    monkeypatch.setattr(run, "IN_MEMORY", set())
    kept = tmp_path / "figures.json"
    pattern = "^(send, durable|import Broker)$"
    assert run.main(["--toy", "--rows", pattern, "--dir", str(tmp_path), "--json", str(kept)]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n{title} " in printed for title in ("send, durable", "import Broker"))
    assert [row["row"] for row in json.loads(kept.read_text())] == [
        "send, durable",
        "import Broker",
    ]


def test_latencies_are_drawn_and_their_pauses_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, latency = importlib.import_module("run"), importlib.import_module("benchmarks.latency")
    monkeypatch.setattr(run, "IN_MEMORY", set())
    assert run.main(["--toy", "--rows", "^latency$", "--dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for load in latency.LOADS:
        assert f"durable sends, {load}: " in printed
    assert printed.count("  p99.9 ") == 2
    assert printed.count("#") > 100

    distribution = importlib.import_module("benchmarks.distribution")
    sends, probe = distribution.Distribution(), distribution.Distribution()
    ms = 1_000_000
    for begin, end in ((0, 1 * ms), (100 * ms, 180 * ms), (300 * ms, 400 * ms)):
        sends.note(begin, end)
    for begin, end in ((90 * ms, 120 * ms), (140 * ms, 165 * ms), (390 * ms, 430 * ms)):
        probe.note(begin, end)
    assert distribution.unexplained(sends, probe) == [(300 * ms, 400 * ms)]
    assert [sends.seconds(name) for name in ("p50", "max")] == [0.08, 0.1]


def test_table_refuses_a_directory_in_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = importlib.import_module("run")
    monkeypatch.setattr(run.disk, "file_system", lambda path: "tmpfs")
    assert run.main(["--dir", str(tmp_path)]) == 2
    assert "--dir" in capsys.readouterr().err
