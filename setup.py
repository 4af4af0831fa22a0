"""The list of extensions: one a src/merkql/_core/*.pyx, with its c/<stem>.c and c/<stem>_*.c."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

CORE = Path("src/merkql/_core")
DEBUG, PORTABLE, WERROR = (
    os.environ.get(f"MERKQL_{name}") == "1" for name in ("DEBUG", "PORTABLE", "WERROR")
)
# Each kind of build has a folder of its own, so that none takes another's objects for its own.
BUILD = "build/debug" if DEBUG else "build/portable" if PORTABLE else "build"
# overflowcheck subtracts pointers as if they were integers, which compilers warn of.
FLAGS = ["-O0", "-g", "-Wno-int-conversion"] if DEBUG else ["-O3"]
FLAGS += ["-Wall", "-Wextra", "-Wsign-compare", "-Wno-unused-parameter"]
FLAGS += ["-Werror"] if WERROR else []
# cdivision and wraparound are meaning, the same in every build; the rest are checks.
MEANING = dict(language_level=3, cdivision=True, wraparound=False, embedsignature=True)
MEANING |= dict(autotestdict=False, auto_pickle=False, freethreading_compatible=True)
CHECKS = dict.fromkeys(("boundscheck", "initializedcheck", "nonecheck", "overflowcheck"), DEBUG)


def extension(source: Path) -> Extension:
    c_sources = [*CORE.glob(f"c/{source.stem}.c"), *CORE.glob(f"c/{source.stem}_*.c")]
    return Extension(
        f"merkql._core.{source.stem}",
        [str(path) for path in (source, *sorted(c_sources))],
        depends=[str(path) for path in sorted(CORE.glob("c/*.h"))],
        include_dirs=[str(CORE / "c")],
        define_macros=[("MERKQL_PORTABLE", "1")] if PORTABLE else [],
        extra_compile_args=FLAGS,
    )


modules = [extension(source) for source in sorted(CORE.glob("*.pyx"))]
modules = cythonize(modules, build_dir=f"{BUILD}/cython", compiler_directives=MEANING | CHECKS)
setup(ext_modules=modules, options={"build": {"build_base": BUILD}, "build_ext": {"parallel": 2}})
