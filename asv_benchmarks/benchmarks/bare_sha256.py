"""What SHA-256 reaches in a bare C loop here: ready blocks, three streams side by side.

The loop is compiled when it is needed, from this file and the core's C. It pads nothing, begins no
message and stores no digest: a leaf is one such block, so this is the limit for hashing leaves.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

CORE = Path(__file__).parents[2] / "src/merkql/_core/c"
BLOCK_BYTES = 64
SOURCE = """
#include "sha256_engine.h"
#include "sha256.h"

void bare_streams(const unsigned char *blocks, size_t count)
{
    uint32_t states[SHA256_LANES_MAX][8] = {{0}};
    const unsigned char *streams[SHA256_LANES_MAX];
    for (size_t lane = 0; lane < SHA256_LANES_MAX; lane++) {
        streams[lane] = blocks + lane * (count / SHA256_LANES_MAX) * SHA256_BLOCK_SIZE;
    }
    sha256_fast()->compress(states, streams, SHA256_LANES_MAX, count / SHA256_LANES_MAX);
}
"""


def is_available() -> bool:
    """Whether there are a C compiler and the core's sources."""
    return shutil.which(_compiler()[0]) is not None and CORE.is_dir()


def _compiler() -> list[str]:
    return shlex.split(sysconfig.get_config_var("CC") or "cc")


@functools.cache
def bare_streams() -> Callable[[bytes, int], None]:
    """The loop: blocks back to back, and how many."""
    directory = tempfile.mkdtemp(prefix="merkql-bare-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    source, library = Path(directory, "bare.c"), Path(directory, "bare.so")
    source.write_text(SOURCE, encoding="utf-8")
    sources = [str(source), *map(str, sorted(CORE.glob("sha256*.c")))]
    command = [*_compiler(), "-O3", "-shared", "-fPIC", f"-I{CORE}", *sources, "-o", str(library)]
    subprocess.run(command, check=True)
    function = ctypes.CDLL(str(library)).bare_streams
    function.argtypes, function.restype = [ctypes.c_char_p, ctypes.c_size_t], None
    return function
