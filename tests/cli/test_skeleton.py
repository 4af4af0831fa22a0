"""Each command is a module with the two functions that the table promises, and has a help."""

from __future__ import annotations

import inspect
import io
import re

import pytest

from merkql.cli.commands import COMMANDS, load
from merkql.cli.running import run
from merkql.cli.terminal import Terminal


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_two_functions_and_a_help(name: str) -> None:
    module = load(name)
    assert list(inspect.signature(module.add_parser).parameters) == ["subparsers"]
    assert list(inspect.signature(module.run).parameters) == ["arguments"]
    out, err = io.BytesIO(), io.BytesIO()
    assert run([name, "--help"], Terminal({}, None, out, err)) == 0
    assert err.getvalue() == b""
    shown = out.getvalue().decode()
    assert shown.startswith(f"usage: merkql {name}")
    assert max(map(len, shown.splitlines())) <= 96
    assert re.search(r"^  -h, --help +show this help$", shown, re.MULTILINE)
