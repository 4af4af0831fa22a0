"""Is everything in, and nothing else? `check_package.py SDIST WHEEL`."""

from __future__ import annotations

import re
import subprocess
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
    for name in ("py.typed", "proof.py", "verify.html"):  # bundles carry the last two
        assert f"merkql/{name}" in names, f"{wheel.name} lacks {name}"


def check_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = sources() - names
    assert not missing, f"{sdist.name} lacks {sorted(missing)}"
    built = [name for name in names if name.startswith("build/") or name.endswith(".so")]
    assert not built, f"{sdist.name} ships {built}"


def sources() -> set[str]:
    """What belongs below ``src``: what git tracks; without a history, all but what tools leave."""
    git = ["git", "ls-files", "-z", "src"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return {name for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file()}
    left = re.compile(r"(^|/)(\.[^/]*|__pycache__|[^/]*\.egg-info)/|\.(so|pyc)$")
    found = (path for path in (ROOT / "src").rglob("*") if path.is_file())
    names = {str(path.relative_to(ROOT)) for path in found}
    return {name for name in names if not left.search(name)}


if __name__ == "__main__":
    check_sdist(Path(sys.argv[1]))
    check_wheel(Path(sys.argv[2]))
    print("sdist and wheel hold what they should")
