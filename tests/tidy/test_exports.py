"""What `import merkql` gives: each public name re-exported on its own line, and documented.

And what it does not: modules that only some need are loaded by those alone.
"""

from __future__ import annotations

import ast
import inspect
import pydoc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import merkql

INIT = Path(__file__).parents[2] / "src/merkql/__init__.py"


def re_exports() -> dict[str, str]:
    """The names that type checkers see imported in __init__.py, and where from."""
    tree = ast.parse(INIT.read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    return {
        alias.asname or alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def public_members(owner: object) -> Iterator[tuple[str, object]]:
    for name, member in vars(owner).items():
        is_callable = callable(member) or isinstance(member, (property, classmethod, staticmethod))
        if is_callable and not name.startswith("_"):
            yield name, member


def test_all_lists_each_re_export_once_on_its_own_line() -> None:
    names = list(merkql.__all__)
    assert len(set(names)) == len(names)
    assert set(names) == set(re_exports())
    lines = INIT.read_text(encoding="utf-8").splitlines()
    assert not [name for name in names if f'    "{name}",' not in lines], (
        "one name a line in __all__"
    )


def test_names_are_loaded_from_where_type_checkers_see_them() -> None:
    assert re_exports() == merkql._HOMES
    for name, module in merkql._HOMES.items():
        assert getattr(merkql, name) is getattr(sys.modules[module], name)


def test_init_only_re_exports() -> None:
    """No work at import: docstring, imports, __all__ and __version__, and what loads a name."""
    tree = ast.parse(INIT.read_text(encoding="utf-8"))
    allowed = (ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr)
    others = [node for node in tree.body if not isinstance(node, allowed)]
    assert [getattr(node, "name", "if TYPE_CHECKING") for node in others] == [
        "if TYPE_CHECKING",
        "__getattr__",
        "__dir__",
    ]


def test_names_that_load_late_are_listed_and_shown_by_help() -> None:
    assert set(merkql.__all__) <= set(dir(merkql))
    shown = pydoc.plain(pydoc.render_doc(merkql))
    assert "class Broker(" in shown
    assert "class Consumer(" in shown
    scope: dict[str, object] = {}
    exec("from merkql import *", scope)
    assert set(merkql.__all__) <= set(scope)
    with pytest.raises(AttributeError, match="module 'merkql' has no attribute 'Brokers'"):
        _ = merkql.Brokers


def modules_after(code: str) -> set[str]:
    """What a fresh interpreter has loaded beyond its own after these statements."""
    program = f"import sys; had = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - had))"
    command = [sys.executable, "-S", "-c", program]
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return set(done.stdout.split())


# What is dear to load, or loads what is: each costs more than all of the write path's own modules.
HEAVY = {
    "asyncio", "ctypes", "email", "hashlib", "http", "logging.config", "multiprocessing", "pathlib",
    "shutil", "socket", "ssl", "subprocess", "tempfile", "urllib", "zipfile",
}  # fmt: skip
FOR_SOME = {
    "merkql.bundle", "merkql.consumer", "merkql.proof", "merkql.proofs",
    "merkql.storage.collecting", "merkql.storage.evidence", "merkql.storage.history",
    "merkql.storage.verification", "merkql.transparency.checkpointer", "merkql.transparency.note",
    "merkql.transparency.publisher",
}  # fmt: skip


def test_import_merkql_loads_next_to_nothing() -> None:
    loaded = modules_after("import merkql")
    assert {name for name in loaded if name.startswith("merkql")} == {"merkql"}
    assert len(loaded) < 50, sorted(loaded)


def test_who_writes_loads_nothing_that_only_others_need(tmp_path: Path) -> None:
    write = f"""
from merkql import Broker
with Broker.open({str(tmp_path / "log")!r}) as broker:
    broker.producer().send("events", b"value")
"""
    loaded = modules_after(write)
    assert not loaded & HEAVY
    assert not loaded & FOR_SOME
    assert len([name for name in loaded if name.startswith("merkql")]) <= 90


def test_proof_alone_loads_the_standard_library_alone() -> None:
    loaded = {name for name in modules_after("import merkql.proof") if name.startswith("merkql")}
    assert loaded == {"merkql", "merkql.proof"}


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


def test_a_user_could_call_what_only_a_leader_may_call() -> None:
    """`Topic.apply_retention` took no lock: beside a writer, segments were missing by dozens."""
    public = {name for name in dir(merkql.Topic) if not name.startswith("_")}
    assert public == {
        "erase_key",
        "add_partitions",
        "alter",
        "config",
        "directory",
        "partition",
        "partition_count",
        "partitions",
        "retention",
    }
