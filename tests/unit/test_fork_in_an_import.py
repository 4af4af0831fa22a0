"""A fork while another thread loads a part of the library that is loaded at its first use."""

from __future__ import annotations

import ast
from pathlib import Path

import merkql
from merkql.before_fork import LOADED_LATE
from support import children

PROGRAM = """
import os, sys, threading
from merkql import Broker

started, held, thread = threading.Event(), threading.Event(), None

class Finder:
    def find_spec(name, *_):
        if name == "merkql.membership" and threading.current_thread() is thread:
            started.set()
            held.wait(0.3)  # the import takes so long

sys.meta_path.insert(0, Finder)
with Broker.open(sys.argv[1]) as broker:
    broker.create_topic("t")
    thread = threading.Thread(target=lambda: broker.consumer("g").close())
    thread.start()
    assert started.wait(30)
    child = os.fork()
    if not child:
        with Broker.open(sys.argv[1]) as mine, mine.consumer("h") as consumer:
            consumer.subscribe(["t"])
        os._exit(0)
    thread.join()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_in_the_middle_of_an_import_hung_the_child(tmp_path: Path) -> None:
    assert children.run(PROGRAM, tmp_path, timeout=60) == "0\n"


def test_what_methods_import_is_loaded_before_a_fork() -> None:
    root = Path(merkql.__file__).parent
    late = set()
    for path in root.rglob("*.py"):
        if path.relative_to(root).parts[0] in ("cli", "__main__.py"):
            continue  # a command does not fork
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                late |= {
                    node.module.removeprefix("merkql.")
                    for node in ast.walk(function)
                    if isinstance(node, ast.ImportFrom)
                    and (node.module or "").startswith("merkql.")
                    and node.module
                }
    assert late
    assert late <= set(LOADED_LATE)
