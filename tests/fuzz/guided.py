"""Coverage-guided fuzzing of every decoder: libFuzzer watches the C and the Python.

    PYTHONPATH=tests python -m fuzz.guided [--seconds 30] [--target batch] [--save]

`make fuzz` (tools/fuzz.sh) builds the C for it, under AddressSanitizer and UBSan, and loads their
library before the interpreter. What leads somewhere new grows in build/fuzz/corpus, made as small
as can be; ``--save`` keeps it in tests/fuzz/corpus, which every test run decodes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

CORPUS = Path(__file__).with_name("corpus")
MEMORY_MAX_MB = 1024  # of a process: the interpreter under its sanitizers is half of it
ALLOCATION_MAX_MB = 160  # at once: more, and a length was believed. zstd's windows are 128
INPUT_SIZE_MAX = 128 << 10
SLOW_S = 10
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


class Outcome(NamedTuple):
    """What one target showed."""

    name: str
    executions: int
    covered: int  # edges of the C, lines and jumps of the Python
    inputs: int
    finding: str


def kept(name: str) -> list[bytes]:
    """The inputs that are kept for a target, in the repository."""
    path = CORPUS / f"{name}.zip"
    if not path.exists():
        return []
    with zipfile.ZipFile(path) as archive:
        return [archive.read(member) for member in archive.namelist()]


def keep(name: str, inputs: list[bytes]) -> None:
    """The same inputs make the same archive, byte for byte."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, data in enumerate(sorted(set(inputs), key=lambda one: (len(one), one))):
            archive.writestr(zipfile.ZipInfo(f"{number:04}", _LONG_AGO), data, zipfile.ZIP_DEFLATED)
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.zip").write_bytes(target.getvalue())


def fuzz_here(name: str, arguments: list[str]) -> None:
    """Hand this process over to libFuzzer, which ends it."""
    import atheris

    with atheris.instrument_imports(include=["merkql"]):
        from fuzz.targets import TARGETS
    target = TARGETS[name]

    def one(data: bytes) -> None:
        with contextlib.suppress(*target.allowed):
            target.decode(data)

    atheris.Setup([name, *arguments], one)
    atheris.Fuzz()


def fuzz(name: str, seconds: float, work: Path, *, save: bool) -> Outcome:
    """So long in a process of its own; what it finds is kept in ``work``."""
    from fuzz.targets import TARGETS

    corpus, found = work / "corpus" / name, work / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate([*TARGETS[name].seeds(), *kept(name)]):
        (corpus / f"kept-{number:04}").write_bytes(data)
    limits = [
        f"-rss_limit_mb={MEMORY_MAX_MB}",
        f"-malloc_limit_mb={ALLOCATION_MAX_MB}",
        f"-max_len={INPUT_SIZE_MAX}",
        f"-timeout={SLOW_S}",
        f"-artifact_prefix={found}/{name}-",
    ]
    run = _child(name, [f"-max_total_time={seconds:.0f}", *limits, str(corpus)])
    (work / f"{name}.log").write_text(run.stderr)
    executions = _last(r"(?:Done |#)(\d+)", run.stderr)
    finding = "" if run.returncode == 0 else run.stderr[-4000:]
    if save and not finding:
        keep(name, [path.read_bytes() for path in corpus.iterdir()])
    covered, inputs = _last(r"cov: (\d+)", run.stderr), len(list(corpus.iterdir()))
    return Outcome(name, executions, covered, inputs, finding)


def _child(name: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fuzz.guided", "--here", name, *arguments]
    environment = dict(os.environ)
    if "FUZZ_PRELOAD" in environment:  # for the build that this process could not load
        environment["LD_PRELOAD"] = environment["FUZZ_PRELOAD"]
        environment["PYTHONPATH"] = f"{environment['FUZZ_LIBRARY']}:{environment['PYTHONPATH']}"
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", check=False
    )


def _last(pattern: str, text: str) -> int:
    return int((re.findall(pattern, text) or ["0"])[-1])


def main(arguments: list[str]) -> int:
    """How many targets have findings."""
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="for each decoder")
    parser.add_argument("--target", choices=sorted(TARGETS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--work", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--save", action="store_true", help="keep the inputs in tests/fuzz/corpus")
    options = parser.parse_args(arguments)
    names = [name for name in TARGETS if options.target in (None, name)]
    print(f"{'decoder':12} {'executions':>12} {'covered':>8} {'inputs':>7}", flush=True)
    total = found = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for one in pool.map(
            lambda name: fuzz(name, options.seconds, options.work, save=options.save), names
        ):
            verdict = f"  FOUND\n{one.finding}" if one.finding else ""
            print(
                f"{one.name:12} {one.executions:>12,} {one.covered:>8,} {one.inputs:>7,}{verdict}",
                flush=True,
            )
            total, found = total + one.executions, found + bool(one.finding)
    print(f"{total:,} executions, {found} of {len(names)} decoders with findings")
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        fuzz_here(sys.argv[2], sys.argv[3:])
    sys.exit(main(sys.argv[1:]))
