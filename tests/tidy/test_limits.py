"""Sizes and habits that docs/style.md promises, held by counting.

Python sources are read as syntax trees, so that a string is not mistaken for code; Cython and C as
lines of text.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parents[2]
FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 400
INTRINSICS_LINES_MAX = 150  # a C source of one instruction set
COLUMNS_MAX = 100
POSITIONAL_PARAMETERS_MAX = 5
SETUP_LINES_MAX = 40
MAKE_TARGETS_MAX = 16  # `demo` and twelve

CODE_SUFFIXES = {".py", ".pyx", ".pxd", ".pyi", ".c", ".h", ".toml", ".sh"}
TEXT_SUFFIXES = CODE_SUFFIXES | {".md", ".yml", ".yaml", ".in", ".txt", ".cfg"}
TEXT_NAMES = {"Makefile", "run", ".gitignore"}

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


def repository_files() -> list[Path]:
    """What the repository holds; in an sdist, which has no history, what lies there."""
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0:
        return [
            ROOT / name for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file()
        ]
    skipped = re.compile(r"(^|/)(build|dist|\.venv[^/]*|\.git|__pycache__|\.[a-z]+_cache)/")
    found = (path for path in ROOT.rglob("*") if path.is_file())
    return sorted(path for path in found if not skipped.search(str(path.relative_to(ROOT))))


FILES = repository_files()
TEXTS = [path for path in FILES if path.suffix in TEXT_SUFFIXES or path.name in TEXT_NAMES]
SOURCES = [path for path in FILES if path.is_relative_to(ROOT / "src")]
PYTHON = [path for path in FILES if path.suffix == ".py"]
THIS = Path(__file__)
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def functions_of(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def cython_functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, first line and count of lines of each function: to the next line that is not deeper."""
    lines = lines_of(path)
    head = re.compile(r"^(\s*)(?:cpdef|cdef|def)\s+[^=]*?(\w+)\s*\(")
    for first, line in enumerate(lines):
        if not (match := head.match(line)) or line.lstrip().startswith(
            ("cdef extern", "cdef class")
        ):
            continue
        indent, last = len(match[1]), first
        for number in range(first + 1, len(lines)):
            text = lines[number]
            depth = len(text) - len(text.lstrip())
            if text.strip() and depth <= indent and not text.lstrip().startswith((")", "#")):
                break
            last = number if text.strip() else last
        yield match[2], first + 1, last - first + 1


def matches(pattern: str, paths: list[Path]) -> list[str]:
    compiled = re.compile(pattern)
    return [
        f"{place(path, number)}: {line.strip()}"
        for path in paths
        if path != THIS
        for number, line in enumerate(lines_of(path), 1)
        if compiled.search(line)
    ]


def columns_of(line: str) -> int:
    """How wide a line is, without what it says to a tool at its end."""
    return len(re.sub(r"\s+# (type: ignore|noqa|no-cython-lint).*", "", line))


def test_lines_fit_a_screen() -> None:
    """URLs, tables and dumps in the documents may be longer; code and configuration may not."""
    long = [
        f"{place(path, number)}: {columns_of(line)} columns"
        for path in TEXTS
        if path.suffix in CODE_SUFFIXES or path.name in TEXT_NAMES
        for number, line in enumerate(lines_of(path), 1)
        if columns_of(line) > COLUMNS_MAX and "://" not in line
    ]
    assert not long, "\n".join(long)


def test_modules_are_read_in_one_sitting() -> None:
    def limit_of(path: Path) -> int:
        intrinsics = path.stem.endswith(("_x86", "_arm"))
        return INTRINSICS_LINES_MAX if intrinsics else MODULE_LINES_MAX

    long = [
        f"{path.relative_to(ROOT)}: {len(lines_of(path))} lines, at most {limit_of(path)}"
        for path in SOURCES
        if path.suffix in CODE_SUFFIXES and len(lines_of(path)) > limit_of(path)
    ]
    assert not long, "\n".join(long)


def test_functions_fit_a_screen() -> None:
    long = [
        f"{place(path, node.lineno)}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in PYTHON
        for node in functions_of(path)
        if node.end_lineno is not None and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    ]
    long += [
        f"{place(path, line)}: {name} has {count} lines"
        for path in SOURCES
        if path.suffix in {".pyx", ".pxd"}
        for name, line, count in cython_functions(path)
        if count > FUNCTION_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_parameters_are_few_and_booleans_named() -> None:
    problems = []
    for path in SOURCES:
        for node in functions_of(path) if path.suffix == ".py" else ():
            positional = [*node.args.posonlyargs, *node.args.args]
            if positional and positional[0].arg in {"self", "cls"}:
                positional = positional[1:]
            where = f"{place(path, node.lineno)}: {node.name}"
            if len(positional) > POSITIONAL_PARAMETERS_MAX:
                problems.append(f"{where} takes {len(positional)} positional parameters")
            for parameter in positional:
                if parameter.annotation is not None and ast.unparse(parameter.annotation) == "bool":
                    problems.append(f"{where}: make the boolean `{parameter.arg}` keyword-only")
    assert not problems, "\n".join(problems)


def test_nothing_is_left_for_later() -> None:
    found = matches(r"\b(TODO|FIXME|XXX|HACK)\b", TEXTS)
    assert not found, "do it, or open an issue:\n" + "\n".join(found)


def test_errors_of_the_system_are_not_swallowed() -> None:
    """`except OSError: pass` hides a full disk; narrower errors may be expected, with a comment."""
    broad = {"OSError", "IOError", "Exception", "BaseException", "EnvironmentError"}
    found = []
    for path in SOURCES:
        tree = (
            ast.parse(path.read_text(encoding="utf-8"))
            if path.suffix == ".py"
            else ast.Module([], [])
        )
        for node in ast.walk(tree):
            if not isinstance(node, ast.ExceptHandler) or not isinstance(node.body[0], ast.Pass):
                continue
            caught = (
                {"BaseException"}
                if node.type is None
                else set(re.findall(r"\w+", ast.unparse(node.type)))
            )
            if caught & broad:
                found.append(
                    f"{place(path, node.lineno)}: except {', '.join(sorted(caught))}: pass"
                )
    assert not found, "\n".join(found)


def test_the_core_computes_and_nothing_else() -> None:
    """It opens no file, reads no clock, knows no path, logs nothing."""
    core = [
        path for path in SOURCES if "_core" in path.parts and path.suffix in {".py", ".pyx", ".pxd"}
    ]
    found = matches(
        r"\b(from|import) (os|io|time|pathlib|logging|threading)\b|\bopen\(",
        core,
    )
    assert not found, "\n".join(found)


def test_only_the_seam_touches_files() -> None:
    """What changes a file goes through storage/files.py, so that tests can make it fail.

    ``file_watch`` opens files only to be told of writes to them.
    """
    others = [
        path
        for path in SOURCES
        if path.suffix == ".py" and path.name not in {"files.py", "file_watch.py", "proof.py"}
    ]
    calls = (
        "open|write|pwrite|pwritev|fsync|fdatasync|rename|replace|remove|unlink|mkdir|makedirs"
        "|rmdir|truncate|ftruncate|posix_fallocate|link|symlink"
    )
    plain = r"(?<![\w.])(?<!def )open\(|\bshutil\.\w+\(|\bPath\("
    found = matches(rf"\bos\.({calls})\(|{plain}", others)
    found = [line for line in found if "/proc/" not in line]  # the kernel's words, not our files
    assert not found, "use merkql.storage.files:\n" + "\n".join(found)


def test_no_path_of_one_machine() -> None:
    found = matches(r"(?<![\w.:/])/(home|Users|root|work)/\w", TEXTS)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("suffix", [".pyi"])
def test_every_extension_has_a_stub(suffix: str) -> None:
    missing = [p.name for p in SOURCES if p.suffix == ".pyx" and not p.with_suffix(suffix).exists()]
    assert not missing, f"no {suffix} beside {missing}"


def test_cython_is_one_file_one_module() -> None:
    cython = [path for path in SOURCES if path.suffix in {".pyx", ".pxd"}]
    assert not matches(r"^\s*(include\s+['\"]|DEF\s|IF\s|ELIF\s)", cython)
    assert not [path.name for path in SOURCES if path.suffix == ".pxi"]


def test_externs_stay_in_the_extension_that_links_them() -> None:
    """A shared .pxd that declares a C function of ours compiles, and fails at import elsewhere."""
    declarations = [path for path in SOURCES if path.suffix == ".pxd"]
    assert not matches(r"cdef extern from \"(?!Python\.h)[\w/]+\.h\"", declarations)


def test_every_source_says_what_it_is() -> None:
    """A module docstring of at most eight lines."""
    problems = []
    for path in SOURCES:
        if path.suffix not in {".py", ".pyx"}:
            continue
        docstring = re.match(
            r'\s*(?:#[^\n]*\n)*r?"""(.*?)"""', path.read_text(encoding="utf-8"), re.DOTALL
        )
        if docstring is None:
            problems.append(f"{path.relative_to(ROOT)}: no docstring")
        elif (
            path.name not in {"errors.py", "proof.py", "__init__.py"}
            and docstring[1].count("\n") > 8
        ):
            problems.append(
                f"{path.relative_to(ROOT)}: {docstring[1].count(chr(10)) + 1} lines of docstring"
            )
    assert not problems, "\n".join(problems)


def test_the_build_stays_plain() -> None:
    targets = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[
        0
    ].split()
    assert len(targets) <= MAKE_TARGETS_MAX
    assert len(lines_of(ROOT / "setup.py")) <= SETUP_LINES_MAX


def test_what_a_build_takes_is_pinned_with_hashes() -> None:
    wanted = (ROOT / "tools/requirements/build.in").read_text().splitlines()
    lists = re.findall(r"^(?:requires|dependencies) = \[(.*)\]$", PYPROJECT, re.MULTILINE)
    assert len(lists) == 2
    for requirement in ", ".join(lists).split(", "):
        assert requirement.strip('"') in wanted, "as in pyproject.toml"
    pinned = (ROOT / "tools/requirements/build.txt").read_text()
    pins = re.findall(r"^([\w-]+)==\S+(?: ;[^\n]*)? \\\n    --hash=sha256:", pinned, re.MULTILINE)
    assert len(pins) == pinned.count("==") - pinned.count(" == ")
    for line in wanted:
        assert line.startswith("#") or re.split("[>=]", line)[0] in pins
    assert "--require-hashes -r tools/requirements/build.txt" in (ROOT / "Makefile").read_text()


def test_the_readme_begins_with_two_commands_that_exist() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = re.findall(r"^\$? ?make ([\w-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert commands[:2] == ["demo", "test"]
    assert set(commands) <= set(targets)


def test_links_between_the_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in TEXTS
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert not broken, "\n".join(broken)
