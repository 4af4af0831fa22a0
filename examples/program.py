"""What the examples share: where their data goes, and an end in one line, never a traceback."""

from __future__ import annotations

import interrupts

# isort: split
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from merkql import MerkqlError


def run(main: Callable[[Path], None]) -> None:
    """Call `main` with the directory that the command line names, or with a new one, and exit."""
    name = Path(sys.argv[0]).name
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        sys.exit(f"usage: {name} [DIRECTORY]   (default: a new directory, which is kept)")
    if sys.argv[1:] and sys.argv[1].startswith("-"):
        sys.exit(f"{name}: unknown option {sys.argv[1]}; usage: {name} [DIRECTORY]")
    try:
        interrupts.begin()
        main(data_directory(name.removesuffix(".py")))
        sys.stdout.flush()
        interrupts.end()
    except BrokenPipeError:
        # Nothing can be printed any more, not even by the interpreter's own flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(f"{name}: stopped, nobody reads the output")
    except KeyboardInterrupt:
        print(interrupts.STOPPED, end="", file=sys.stderr)
        sys.exit(130)
    except (MerkqlError, OSError) as error:
        sys.exit(f"{name}: {error}")


def data_directory(name: str) -> Path:
    if len(sys.argv) == 2:
        directory = Path(sys.argv[1])
        directory.mkdir(parents=True, exist_ok=True)
        return directory
    return Path(tempfile.mkdtemp(prefix=f"merkql-{name}-"))


def size_in_kib(directory: Path) -> int:
    """What the files under `directory` take on the disk, in KiB."""
    return sum(path.stat().st_blocks for path in directory.rglob("*")) // 2
