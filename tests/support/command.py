"""Drives the command: here with bytes in memory, or as a process with pipes or a terminal."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from merkql.cli.running import run
from merkql.cli.terminal import Terminal

# As the installed script does it: what is before `merkql` is imported is part of the command.
ENTRY = [sys.executable, "-c", "import sys, _merkql; sys.exit(_merkql.main())"]
DEADLINE_S = 60.0


class Done(NamedTuple):
    """What a run left."""

    status: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()


def merkql(directory: Path | str, *words: object, stdin: bytes = b"", **options: str) -> Done:
    """Run the command in this process; ``options`` are environment variables."""
    out, err = io.BytesIO(), io.BytesIO()
    environment = {"MERKQL_DIRECTORY": str(directory), "MERKQL_TRACEBACK": "1", **options}
    if "MERKQL_TRACEBACK" in options:
        environment["MERKQL_TRACEBACK"] = options["MERKQL_TRACEBACK"]
    terminal = Terminal(environment, io.BytesIO(stdin), out, err)
    status = run(list(map(str, words)), terminal)
    return Done(status, out.getvalue(), err.getvalue().decode())


def refused(directory: Path | str, *words: object, stdin: bytes = b"") -> Done:
    """Run what has to fail, with a line on standard error and no more."""
    done = merkql(directory, *words, stdin=stdin, MERKQL_TRACEBACK="")
    assert done.status
    assert done.err.startswith("merkql: error: ")
    assert done.err.count("\n") == 1, done.err
    return done


def environment(directory: Path | str, **changes: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "PYTHONUNBUFFERED", "COLUMNS")
    }
    path = os.pathsep.join(sys.path)
    return {**kept, "PYTHONPATH": path, "MERKQL_DIRECTORY": str(directory), **changes}


def start(directory: Path | str, *words: object, **options: Any) -> subprocess.Popen[bytes]:
    """The command as a process; all three streams are pipes unless ``options`` say otherwise."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    options = {**pipes, "env": environment(directory), **options}
    return subprocess.Popen([*ENTRY, *map(str, words)], **options)


class InTerminal:
    """The command at a pseudo-terminal of its own, as a person sees it."""

    def __init__(
        self,
        directory: Path | str,
        *words: object,
        changes: Mapping[str, str] | None = None,
        **streams: Any,
    ) -> None:
        """``streams``: those that are not the terminal's."""
        self.master, slave = pty.openpty()
        names = ("stdin", "stdout", "stderr")
        kept = {name: streams.get(name, slave) for name in names}
        variables = environment(directory, **{"TERM": "xterm", **(changes or {})})
        self.process = subprocess.Popen(
            [*ENTRY, *map(str, words)], env=variables, start_new_session=True, **kept
        )
        os.close(slave)
        self.shown = b""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, what: bytes) -> None:
        """Read until it is shown."""
        deadline = time.monotonic() + DEADLINE_S
        while what not in self.shown:
            assert time.monotonic() < deadline, self.shown
            assert self._read(), f"it ended without {what!r}: {self.shown!r}"

    def is_readable(self) -> bool:
        """Whether something is there to be read now."""
        return bool(select.select([self.master], [], [], 0)[0])

    def end(self) -> int:
        """Read to the end; the exit status, negative for a signal."""
        while self._read():
            pass
        status = self.process.wait(DEADLINE_S)
        os.close(self.master)
        return status

    def _read(self) -> bytes:
        try:
            some = os.read(self.master, 65536)
        except OSError:  # EIO: nobody has the other side open
            some = b""
        self.shown += some
        return some


def interrupt(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> tuple[int, bytes]:
    """Send a signal, read what is left; the status, and what was said on standard error."""
    process.send_signal(number)
    _, err = process.communicate(timeout=DEADLINE_S)
    return process.returncode, err


def wait_until(is_so: Callable[[], object]) -> None:
    """Look again and again, at most a minute."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline
        os.sched_yield()
