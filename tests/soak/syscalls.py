"""The installed merkql under strace: each file system call fails once, for ever, or is the last.

Whatever fails, the process ends soon, with success or a clear error, says nothing that is not true,
and leaves a directory that holds all it had acknowledged.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from merkql import Broker
from soak.ledger import Ledger

CALLS = {  # what may fail, and how
    "openat": ("EMFILE", "EACCES", "EIO"),
    "pwrite64": ("ENOSPC", "EIO", "EINTR"),
    "pwritev2": ("EIO", "ENOSPC"),
    "pread64": ("EIO", "EINTR"),
    "preadv2": ("EIO",),
    "newfstatat": ("EIO", "EACCES"),
    "fdatasync": ("EIO", "ENOSPC"),
    "fsync": ("EIO",),
    "sync_file_range": ("EIO",),
    "ftruncate": ("EIO",),
    "fallocate": ("ENOSPC", "EINTR"),
    "rename": ("EIO", "ENOSPC"),
    "unlink": ("EIO",),
    "mkdir": ("ENOSPC", "EIO"),
    "rmdir": ("EIO",),
    "flock": ("ENOLCK", "EINTR"),
    "getdents64": ("EIO",),
    "mmap": ("ENOMEM",),
}
PATIENCE_S = 30.0


class Injection(NamedTuple):
    """One way to hurt the run: a call, its number, and what becomes of it."""

    call: str
    number: int
    what: str  # "error=EIO", or "signal=KILL"
    lasting: bool

    def __str__(self) -> str:
        return f"{self.call}:{self.what}:when={self.number}{'+' if self.lasting else ''}"


def why_not() -> str:
    """Why this machine cannot do it; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-o", "/dev/null", "true"], check=False, capture_output=True)
    return "" if done.returncode == 0 else f"strace cannot trace here: {done.stderr.decode()[:80]}"


def injections(share: float = 1.0) -> Iterator[Injection]:
    """Every one there is for a run on an empty directory; or an even share of them."""
    total = 0.0
    for call, first, last in _numbers():
        for number in range(first, last + 1):
            errors = CALLS[call]
            error = errors[number % len(errors)]
            for what, lasting in (
                (f"error={error}", False),
                (f"error={error}", True),
                ("signal=KILL", False),
            ):
                if lasting and (error == "EINTR" or call == "mmap"):
                    continue  # a call that is interrupted for ever is made for ever
                total += share
                if total >= 1:
                    total -= 1
                    yield Injection(call, number, what, lasting)


def _numbers() -> Iterator[tuple[str, int, int]]:
    """Of each call, the numbers of those between the first and the last on the directory."""
    with tempfile.TemporaryDirectory(prefix="merkql-strace-") as place:
        trace = Path(place, "trace")
        names = ",".join(CALLS)
        _run(place, ["-y", "-s", "64", "-e", f"trace={names}", "-o", str(trace)])
        counts: Counter[str] = Counter()
        spans: dict[str, tuple[int, int]] = {}
        for line in trace.read_text(errors="replace").splitlines():
            match = re.match(r"(?:\d+ +)?(\w+)\(", line)
            if match is None or match[1] not in CALLS:
                continue
            counts[match[1]] += 1
            if f"{place}/data" in line or (match[1] == "mmap" and counts["mkdir"]):
                first, _ = spans.get(match[1], (counts[match[1]], 0))
                spans[match[1]] = first, counts[match[1]]
    for call, (first, last) in spans.items():
        yield call, first, last


def _run(place: str, options: list[str]) -> tuple[subprocess.CompletedProcess[bytes], Ledger]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = [sys.executable, "-m", "soak.victim", f"{place}/data"]
    done = subprocess.run(
        ["strace", "-f", "-qq", *options, *program],
        check=False,
        capture_output=True,
        env=environment,
        timeout=PATIENCE_S,
    )
    ledger = Ledger()
    for line in done.stdout.splitlines(keepends=True):
        if line.endswith(b"]\n") and not line.startswith(b'["closed"'):
            ledger.hear(line)
    return done, ledger


def hurt(injection: Injection) -> tuple[Counter[str], str]:
    """One run that is hurt so; what was counted, and what was wrong."""
    place = tempfile.mkdtemp(prefix="merkql-strace-")
    options = ["-e", "trace=none", "-e", f"inject={injection}", "-o", "/dev/null"]
    try:
        done, ledger = _run(place, options)
        wrong = _judge(injection, done)
        if not wrong and Path(place, "data", "merkql.json").exists():
            with Broker.open(f"{place}/data") as broker:
                ledger.check(broker, power_cut=False, whole=True)
            wrong = "; ".join(ledger.wrong[:3])
    except subprocess.TimeoutExpired:
        return Counter(), f"{injection}: not through after {PATIENCE_S} s"
    except Exception as error:
        return Counter(), f"{injection}: afterwards {type(error).__name__}: {error}"
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return ledger.counts + Counter(faults=1), f"{injection}: {wrong}" if wrong else ""


def _judge(injection: Injection, done: subprocess.CompletedProcess[bytes]) -> str:
    said = done.stderr.decode(errors="replace")
    if "signal" in injection.what and done.returncode in (-9, 137, 0, 3):
        return ""
    if done.returncode == 3 and len(said.strip().splitlines()) >= 1 and "Traceback" not in said:
        return ""
    if done.returncode == 0 and "Traceback" not in said:
        return ""
    return f"status {done.returncode}: {said[-600:]}"


def run(share: float = 1.0, jobs: int = 2) -> Counter[str]:
    """All of them, or an even share; ``AssertionError`` with all that was wrong."""
    logging.disable(logging.CRITICAL)
    totals: Counter[str] = Counter()
    wrong = []
    with ThreadPoolExecutor(jobs) as pool:
        for counts, text in pool.map(functools.partial(hurt), injections(share)):
            totals.update(counts)
            if text:
                wrong.append(text)
    assert not wrong, "\n".join(wrong)
    return totals
