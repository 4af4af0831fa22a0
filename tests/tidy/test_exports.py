"""What `import merkql` gives: each public name re-exported on its own line, and documented."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import merkql

INIT = Path(__file__).parents[2] / "src/merkql/__init__.py"


def re_exported_names() -> list[str]:
    """The names the imports of __init__.py bring in, as written."""
    tree = ast.parse(INIT.read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [
        alias.asname or alias.name
        for node in imports
        if node.module != "__future__"
        for alias in node.names
    ]


def public_members(owner: object) -> Iterator[tuple[str, object]]:
    for name, member in vars(owner).items():
        is_callable = callable(member) or isinstance(member, (property, classmethod, staticmethod))
        if is_callable and not name.startswith("_"):
            yield name, member


def test_all_lists_each_re_export_once_on_its_own_line() -> None:
    names = list(merkql.__all__)
    assert len(set(names)) == len(names)
    assert set(names) == {name for name in re_exported_names() if not name.startswith("_")}
    lines = INIT.read_text(encoding="utf-8").splitlines()
    assert not [name for name in names if f'    "{name}",' not in lines], (
        "one name a line in __all__"
    )


def test_init_only_re_exports() -> None:
    """No work at import: docstring, imports, __all__ and __version__, nothing else."""
    tree = ast.parse(INIT.read_text(encoding="utf-8"))
    others = [
        node
        for node in tree.body
        if not isinstance(node, (ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr))
    ]
    assert not others


@pytest.mark.parametrize("name", merkql.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    value = getattr(merkql, name)
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return  # a constant or an alias says what it is where it is defined
    assert inspect.getdoc(value), f"merkql.{name} has no docstring"
    if not inspect.isclass(value) or value.__module__.partition(".")[0] != "merkql":
        return
    bare = [
        f"merkql.{name}.{member}"
        for member, made in public_members(value)
        if not inspect.getdoc(made)
    ]
    assert not bare, f"without a docstring: {', '.join(bare)}"
