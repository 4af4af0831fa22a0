"""Writes the terminal session in README.md from a real one; with `--check`, runs it and compares.

The commands are those that stand there behind a `$`. They are run by bash at a pseudo-terminal, and
all they print replaces what stood between them. Their directory is that of somebody who reads from
the top: the Python above them has run in it.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(
    r"(<!-- session: begin [^\n]*-->\n```console\n)(.*?)(```\n<!-- session: end -->)", re.DOTALL
)
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN_DIRECTORY = "/srv"  # stands for the temporary directory it ran in
ENTRY = [sys.executable, "-c", "import sys, _merkql; sys.exit(_merkql.main())"]


def commands_of(session: str) -> list[str]:
    """What was typed."""
    return [line[2:] for line in session.splitlines() if line.startswith("$ ")]


def recorded(commands: list[str], programs: list[str]) -> str:
    """What a terminal shows when these are typed, after the programs have run."""
    with tempfile.TemporaryDirectory() as directory:
        entry = Path(directory, "bin/merkql")
        entry.parent.mkdir()
        entry.write_text(f'#!/bin/sh\nexec {shlex.join(ENTRY)} "$@"\n')
        entry.chmod(0o755)
        cwd = Path(directory, "cwd")
        cwd.mkdir()
        environment = {
            **{name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ},
            "PATH": f"{entry.parent}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path[1:]]),
            "TERM": "xterm",
            "NO_COLOR": "1",
        }
        for program in programs:
            subprocess.run([sys.executable, "-c", program], cwd=cwd, env=environment, check=True)
        lines = [f"printf '%s\\n' {shlex.quote('$ ' + one)}; {one}" for one in commands]
        shown = in_terminal(["bash", "-c", "\n".join(lines)], cwd, environment)
        return shown.replace("\r\n", "\n").replace(str(cwd), SHOWN_DIRECTORY)


def in_terminal(command: list[str], cwd: Path, environment: dict[str, str]) -> str:
    """Everything a program writes to the terminal it runs at."""
    terminal, other = pty.openpty()
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=other, stdout=other, stderr=other
    ):
        os.close(other)
        shown = b""
        while True:
            try:
                some = os.read(terminal, 65536)
            except OSError:  # EIO: nobody has the other side open
                some = b""
            if not some:
                break
            shown += some
    os.close(terminal)
    return shown.decode()


def without_chance(session: str) -> str:
    """With what differs from run to run taken out: hashes of times, and how long it took."""
    session = re.sub(r"root [0-9a-f]{16}", "root", session)
    return re.sub(r"in [\d.]+ s$", "in", session, flags=re.MULTILINE)


def main() -> None:
    text = README.read_text(encoding="utf-8")
    block = BLOCK.search(text)
    if block is None:
        sys.exit("README.md has no session between its marks")
    session = recorded(commands_of(block[2]), PROGRAM.findall(text[: block.start()]))
    if "--check" in sys.argv:
        same = without_chance(session) == without_chance(block[2])
        sys.exit(None if same else f"the session in README.md is not what happens:\n{session}")
    README.write_text(text[: block.start(2)] + session + text[block.end(2) :], encoding="utf-8")


if __name__ == "__main__":
    main()
