"""The table in docs/architecture.md is the rule of who may import whom; the source has to agree.

The text of .py, .pyx and .pxd files is read, not an import graph: tools that build one see neither
a `cimport` nor what a compiled module imports.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
TABLE = ROOT / "docs/architecture.md"
# Without a row: packages that re-export or only document, and where the installed command begins.
FACADES = {
    "_merkql",
    "merkql",
    "merkql._core",
    "merkql.storage",
    "merkql.transparency",
    "merkql.cli",
}

TABLE_ROW = re.compile(
    r"^\| `(?P<module>[\w.]+)` \| (?P<may_import>[^|]*) \| (?P<purpose>[^|]+) \|$"
)
IMPORT_FROM = re.compile(r"from\s+(?P<origin>\.*[\w.]*)\s+c?import\s+(?P<names>[^#\n]+)")
IMPORT_PLAIN = re.compile(r"c?import\s+(?P<names>[\w., ]+)")


def table_rows() -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if match := TABLE_ROW.match(line):
            module = f"merkql.{match['module']}"
            assert module not in rows, f"{module} has two rows in {TABLE.name}"
            rows[module] = [
                f"merkql.{name}" for name in re.findall(r"`([\w.]+)`", match["may_import"])
            ]
    return rows


def source_modules() -> dict[str, list[Path]]:
    """Each module and the files it is written in; stubs import nothing that runs."""
    modules: dict[str, list[Path]] = {}
    for path in sorted(SOURCE.rglob("*")):
        if path.suffix in {".py", ".pyx", ".pxd"}:
            dotted = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
            modules.setdefault(dotted.removesuffix(".__init__"), []).append(path)
    return modules


def import_statements(text: str) -> Iterator[str]:
    """Each import statement of a source on one line, however it was wrapped."""
    text = re.sub(r"\\\n", " ", text)
    for match in re.finditer(
        r"^[ \t]*((?:from|import|cimport)\s[^\n(]*)(\(([^)]*)\))?", text, re.MULTILINE
    ):
        inside = re.sub(r"#[^\n]*", "", match[3] or "")
        yield f"{match[1]} {' '.join(inside.split())}".strip()


def imported_names(text: str) -> Iterator[str]:
    """The dotted names a source asks for: `from a.b import c` asks for `a.b.c`."""
    for statement in import_statements(text):
        if match := IMPORT_FROM.match(statement):
            for name in match["names"].split(","):
                if name.strip():
                    yield f"{match['origin']}.{name.split()[0]}"
        elif match := IMPORT_PLAIN.match(statement):
            for name in match["names"].split(","):
                yield name.split()[0]


def row_of(name: str, rows: dict[str, list[str]]) -> str:
    """The row a name belongs to: the longest part of it that has one; itself if there is none."""
    shortened = name
    while shortened:
        if shortened in rows:
            return shortened
        shortened = shortened.rpartition(".")[0]
    return name


def complaints(module: str, text: str, rows: dict[str, list[str]]) -> Iterator[str]:
    """What one source imports against the table, with the way out."""
    for name in imported_names(text):
        target = row_of(name, rows)
        if name.startswith("."):
            yield f"{module}: `{name}` is a relative import; write it from `merkql` on"
        elif not name.startswith("merkql.") or target == module or target in rows[module]:
            continue
        else:
            yield (
                f"{module} imports {name}; its row in docs/architecture.md does not name "
                f"`{target.removeprefix('merkql.')}`: add it there if the layers allow it"
            )


def test_each_row_names_only_rows_above_it() -> None:
    above: set[str] = set()
    for module, may_import in table_rows().items():
        too_high = sorted(set(may_import) - above)
        assert not too_high, f"{module} may only name rows above its own, not {too_high}"
        above.add(module)
    assert above, f"{TABLE} has no table"


def test_every_module_has_a_row_and_every_row_a_module() -> None:
    modules, rows = set(source_modules()) - FACADES, set(table_rows())
    assert not modules - rows, (
        f"add a row to docs/architecture.md, with a purpose, for {sorted(modules - rows)}"
    )
    assert not rows - modules, (
        f"docs/architecture.md names what is not there: {sorted(rows - modules)}"
    )


def test_source_imports_what_the_table_allows() -> None:
    rows = table_rows()
    found = [
        complaint
        for module, paths in source_modules().items()
        if module in rows
        for path in paths
        for complaint in complaints(module, path.read_text(encoding="utf-8"), rows)
    ]
    assert not found, "\n".join(found)


def test_rows_name_nothing_that_is_no_longer_imported() -> None:
    rows = table_rows()
    unused = []
    for module, paths in source_modules().items():
        asked = {
            row_of(name, rows)
            for path in paths
            for name in imported_names(path.read_text(encoding="utf-8"))
        }
        unused += [f"{module}: {name}" for name in rows.get(module, ()) if name not in asked]
    assert not unused, "docs/architecture.md allows what nobody imports:\n" + "\n".join(unused)


def test_proof_needs_only_the_standard_library() -> None:
    text = (SOURCE / "merkql/proof.py").read_text(encoding="utf-8")
    assert not [name for name in imported_names(text) if re.match(r"merkql|lz4|xxhash", name)]


ROWS_OF_THE_EXAMPLE = {"merkql.low": [], "merkql.pack.mid": ["merkql.low"], "merkql.high": []}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("from merkql.high import Thing\n", "imports merkql.high.Thing"),
        ("from merkql.low cimport one, two\nfrom merkql import high\n", "imports merkql.high"),
        ("cimport merkql.high as h\n", "imports merkql.high"),
        ("def f():\n    import merkql.high\n", "imports merkql.high"),
        ("from merkql import (\n    low,  # fine\n    high,\n)\n", "imports merkql.high"),
        ("from . import low\n", "relative import"),
        ("from merkql.elsewhere import x\n", "imports merkql.elsewhere.x"),
    ],
)
def test_what_the_table_forbids_is_found(text: str, complaint: str) -> None:
    found = list(complaints("merkql.pack.mid", text, ROWS_OF_THE_EXAMPLE))
    assert len(found) == 1
    assert complaint in found[0]


def test_what_the_table_allows_is_not_complained_about() -> None:
    text = (
        "import os, re\nfrom libc.stdint cimport c\n"
        "from merkql.low import a\nfrom merkql.pack.mid import b\n"
    )
    assert not list(complaints("merkql.pack.mid", text, ROWS_OF_THE_EXAMPLE))
