"""Completion: bash's is asked as bash asks it; the others are parsed where the shell is there."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from merkql.cli.commands import COMMANDS
from support.command import ENTRY, environment, merkql

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with topics and a group, and `merkql` in bin/."""
    directory = tmp_path_factory.mktemp("shop")
    merkql(directory / "log", "create", "orders")
    merkql(directory / "log", "create", "offers")
    merkql(directory / "log", "consume", "orders", "-g", "billing")
    command = directory / "bin/merkql"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.join(ENTRY)} "$@"\n')
    command.chmod(0o755)
    (directory / "complete.bash").write_bytes(merkql(".", "completion", "bash").out)
    return directory


def completed(shop: Path, *words: str, directory: str = "log") -> list[str]:
    script = f"""
source complete.bash
COMP_WORDS=({shlex.join(["merkql", *words])}) COMP_CWORD={len(words)}
_merkql
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    variables = environment(shop / directory)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=shop,
        env={**variables, "PATH": f"{shop / 'bin'}:{variables['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@needs_bash
def test_commands_and_options(shop: Path) -> None:
    assert completed(shop, "") == list(COMMANDS)
    assert "--follow" in completed(shop, "consume", "-")
    assert completed(shop, "consume", "--fo") == ["--follow", "--format"]
    assert completed(shop, "completion", "") == ["bash", "zsh", "fish"]
    assert completed(shop, "help", "vers") == ["version"]


@needs_bash
def test_topics_groups_and_files(shop: Path) -> None:
    assert completed(shop, "consume", "o") == ["offers", "orders"]
    assert completed(shop, "consume", "-t", "or") == ["orders"]
    assert completed(shop, "consume", "orders", "-g", "") == ["billing"]
    assert completed(shop, "-d", "log", "consume", "or", directory="nowhere") == ["orders"]
    assert completed(shop, "consume", "-d", "log", "or", directory="nowhere") == ["orders"]
    assert completed(shop, "-d", "lo") == ["log"]
    assert completed(shop, "dump", "comp") == ["complete.bash"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(merkql(".", "completion", shell).out)
    text = script.read_text()
    for name in COMMANDS:
        assert name in text
    if shutil.which(shell) is not None:
        done = subprocess.run([shell, "-n", script], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


def test_fish_has_a_line_for_each_option() -> None:
    lines = merkql(".", "completion", "fish").lines
    of_consume = [line for line in lines if "__fish_seen_subcommand_from consume'" in line]
    (group,) = [line for line in of_consume if " -l group" in line]
    assert "-s g" in group
    assert "merkql groups --names" in group
    assert all(line.startswith("complete -c merkql") for line in lines)
