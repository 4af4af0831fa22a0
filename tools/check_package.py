"""Is everything in, and nothing else? `check_package.py SDIST WHEEL`."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = Path("src/merkql/_core")


def check_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    sources = [name for name in names if name.endswith((".pyx", ".pxd", ".c", ".h"))]
    assert not sources, f"{wheel.name} ships {sources}"
    for source in sorted((ROOT / CORE).glob("*.pyx")):
        stem = f"merkql/_core/{source.stem}."
        assert f"{stem}pyi" in names, f"{wheel.name} lacks {stem}pyi"
        assert any(name.startswith(stem) and name.endswith(".so") for name in names), stem
    assert "merkql/py.typed" in names


def check_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {path for path in (ROOT / "src").rglob("*") if path.suffix not in {".so", ".pyc"}}
    wanted = {path for path in wanted if path.is_file() and ".egg-info" not in str(path)}
    missing = {str(path.relative_to(ROOT)) for path in wanted} - names
    assert not missing, f"{sdist.name} lacks {sorted(missing)}"
    built = [name for name in names if name.startswith("build/") or name.endswith(".so")]
    assert not built, f"{sdist.name} ships {built}"


if __name__ == "__main__":
    check_sdist(Path(sys.argv[1]))
    check_wheel(Path(sys.argv[2]))
    print("sdist and wheel hold what they should")
