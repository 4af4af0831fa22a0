"""Completion: each shell is asked as it asks itself, where it is installed."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from merkql.cli.commands import COMMANDS
from support.command import DEADLINE_S, ENTRY, environment, merkql

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
    for shell in ("bash", "zsh", "fish"):
        (directory / f"complete.{shell}").write_bytes(merkql(".", "completion", shell).out)
    return directory


def variables(shop: Path, directory: str) -> dict[str, str]:
    found = environment(shop / directory, HOME=str(shop), TERM="xterm")
    return {**found, "PATH": f"{shop / 'bin'}:{found['PATH']}"}


def completed(shop: Path, *words: str, directory: str = "log") -> list[str]:
    script = f"""
source complete.bash
COMP_WORDS=({shlex.join(["merkql", *words])}) COMP_CWORD={len(words)}
_merkql
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=shop,
        env=variables(shop, directory),
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
    assert completed(shop, "dump", "complete.b") == ["complete.bash"]


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


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
@pytest.mark.parametrize(
    ("line", "directory", "expected"),
    [
        ("merkql con", "log", ["consume"]),
        ("merkql consume --fo", "log", ["--follow", "--format"]),
        ("merkql --", "log", ["--directory", "--help", "--version"]),
        ("merkql completion ", "log", ["bash", "fish", "zsh"]),
        ("merkql consume o", "log", ["offers", "orders"]),
        ("merkql consume -t or", "log", ["orders"]),
        ("merkql consume orders -g ", "log", ["billing"]),
        ("merkql -d log consume or", "nowhere", ["orders"]),
        ("merkql consume --directory=log or", "nowhere", ["orders"]),
        ("merkql dump complete.f", "log", ["complete.fish"]),
    ],
)
def test_fish_completes(shop: Path, line: str, directory: str, expected: list[str]) -> None:
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source complete.fish; complete -C {shlex.quote(line)}"],
        cwd=shop,
        env=variables(shop, directory),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert sorted(one.partition("\t")[0] for one in done.stdout.splitlines()) == expected


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
@pytest.mark.parametrize(
    ("line", "directory", "expected"),
    [
        ("merkql verify-p", "log", "verify-proof"),
        ("merkql consume --foll", "log", "--follow"),
        ("merkql consume off", "log", "offers"),
        ("merkql consume -g bil", "log", "billing"),
        ("merkql -d log consume or", "nowhere", "orders"),
        ("merkql dump complete.z", "log", "complete.zsh"),
    ],
)
def test_zsh_completes(shop: Path, line: str, directory: str, expected: str) -> None:
    """At a terminal of its own, as zsh completes nowhere else."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["zsh", "-f", "-i"],
        **dict.fromkeys(("stdin", "stdout", "stderr"), slave),
        cwd=shop,
        env=variables(shop, directory),
        start_new_session=True,
    )
    os.close(slave)
    try:
        begin = "autoload -Uz compinit; compinit -u -D; source complete.zsh; echo REA''DY\n"
        os.write(master, begin.encode())
        shown(master, b"READY")
        os.write(master, line.encode() + b"\t")
        shown(master, expected.encode())
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        os.close(master)


def shown(master: int, what: bytes) -> None:
    """Read until it stands there."""
    deadline, text = time.monotonic() + DEADLINE_S, b""
    while what not in text:
        ready = select.select([master], [], [], max(0, deadline - time.monotonic()))[0]
        assert ready, text
        text += os.read(master, 65536)


def test_fish_has_a_line_for_each_option() -> None:
    lines = merkql(".", "completion", "fish").lines
    of_consume = [line for line in lines if "__fish_seen_subcommand_from consume'" in line]
    (group,) = [line for line in of_consume if " -l group" in line]
    assert "-s g" in group
    assert "__merkql_names groups" in group
