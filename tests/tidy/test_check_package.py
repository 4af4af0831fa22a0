"""tools/check_package.py asks the sdist for the sources, and for nothing that tools leave there."""

from __future__ import annotations

import importlib.util
import subprocess
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[2] / "tools/check_package.py"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_package", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path / "checkout")
    for name in (
        *("src/merkql/a.py", "src/merkql/_core/b.pyx", "src/merkql/_core/b.so"),
        *("src/.mypy_cache/3.11/a.json", "src/merkql/__pycache__/a.pyc", "src/m.egg-info/PKG"),
    ):
        path = tmp_path / "checkout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return module


def sdist(tool: ModuleType, *names: str) -> Path:
    path = Path(tool.ROOT).parent / "sdist.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.add(tool.ROOT / name, f"merkql-1/{name}")
    return path


@pytest.mark.parametrize("with_history", [True, False])
def test_caches_of_tools_were_missed_in_the_sdist(tool: ModuleType, *, with_history: bool) -> None:
    if with_history:
        for command in (["init", "-q"], ["add", "src/merkql/a.py", "src/merkql/_core/b.pyx"]):
            subprocess.run(["git", *command], cwd=tool.ROOT, check=True)
    tool.check_sdist(sdist(tool, "src/merkql/a.py", "src/merkql/_core/b.pyx"))
    with pytest.raises(AssertionError, match=r"lacks \['src/merkql/_core/b\.pyx'\]"):
        tool.check_sdist(sdist(tool, "src/merkql/a.py"))
    with pytest.raises(AssertionError, match="ships"):
        tool.check_sdist(
            sdist(tool, "src/merkql/a.py", "src/merkql/_core/b.pyx", "src/merkql/_core/b.so")
        )
