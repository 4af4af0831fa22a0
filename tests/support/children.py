"""Programs in processes of their own that tests start, and kill."""

from __future__ import annotations

import os
import subprocess
import sys


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Run Python text in a child; its standard output is a pipe, one line at a time."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def run(program: str, *arguments: object, timeout: float = 120) -> str:
    """Run Python text in a child to its end; what it printed. Its failure is the test's."""
    with start(program, *arguments) as child:
        try:
            output, _ = child.communicate(timeout=timeout)
        except BaseException:
            child.kill()  # else leaving this block waits for it without end
            raise
        assert child.returncode == 0, output
    return output
