"""Which commands there are, and what is typed made into the arguments of one of them."""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Sequence
from typing import Protocol, cast

from merkql.cli import kcat
from merkql.cli.parsing import Parser, Subparsers, UsageError, add_directory

# Name, module, and what the list of commands says of it.
COMMANDS: dict[str, tuple[str, str]] = {
    "topics": ("merkql.cli.topics", "which topics there are, and what they hold"),
    "create": ("merkql.cli.create", "a new topic"),
    "produce": ("merkql.cli.produce", "lines or JSON from standard input into a topic"),
    "consume": ("merkql.cli.consume", "records of topics, as text, JSON or raw bytes"),
    "groups": ("merkql.cli.groups", "consumer groups: members, committed offsets, lag"),
    "alter": ("merkql.cli.alter", "what a topic keeps, and other settings"),
    "delete": ("merkql.cli.delete", "remove a topic for good"),
    "erase": ("merkql.cli.erase", "destroy single records; their proofs stay valid"),
    "verify": ("merkql.cli.verify", "recompute every checksum, leaf and root"),
    "dump": ("merkql.cli.dump", "what is in a file, damaged or not"),
    "proof": ("merkql.cli.proof", "a root, or a proof for somebody who has nothing of ours"),
    "evidence": ("merkql.cli.evidence", "records and their proof in a zip file, for a stranger"),
    "verify-proof": ("merkql.cli.verify_proof", "what files that somebody sent do prove"),
    "keygen": ("merkql.cli.keygen", "a key that signs checkpoints, or a witness's"),
    "checkpoint": ("merkql.cli.checkpoint", "sign what is there, have it witnessed and stamped"),
    "publish": ("merkql.cli.publish", "the trees as tiles for a web server"),
    "witness": ("merkql.cli.witness", "be a witness for the logs of others"),
    "monitor": ("merkql.cli.monitor", "follow logs, and say when one is not what it said"),
    "completion": ("merkql.cli.completion", "completion for bash, zsh or fish"),
    "help": ("merkql.cli.help", "this list, or the help of one command"),
    "version": ("merkql.cli.version", "versions of merkql, its formats and its back ends"),
}
PROGRAM = "merkql"
DESCRIPTION = "An event log in a directory: Kafka's topics, a merkle tree a partition, no broker."
EPILOG = (
    "`merkql COMMAND --help` says more. The directory is -d DIR, else $MERKQL_DIRECTORY, else the "
    "current one. Who knows kcat may go on with its habits: `merkql -C -t TOPIC -o -10 -e`."
)
_WITH_VALUE = ("-d", "-b", "--directory")
# What other programs of the kind call it.
_MEANT = {
    **dict.fromkeys(("list", "ls", "describe", "show", "stat", "info"), "topics"),
    **dict.fromkeys(("cat", "read", "get", "consumer", "log"), "consume TOPIC"),
    **dict.fromkeys(("write", "put", "send", "producer", "append"), "produce TOPIC"),
    **dict.fromkeys(("tail", "follow", "watch"), "consume TOPIC -o -10 --follow"),
    **dict.fromkeys(("fsck", "check"), "verify"),
    **dict.fromkeys(("rm", "remove", "drop"), "delete TOPIC"),
    "init": "create TOPIC",
    "lag": "groups",
}
_ALIASES = {"-h": "help", "--help": "help", "-V": "version", "--version": "version"}


class Command(Protocol):
    """What the module of a command has."""

    def add_parser(self, subparsers: Subparsers) -> Parser:
        """Make the parser of the command, with its options."""

    def run(self, arguments: Namespace) -> int:
        """Do it; the exit status."""


def load(name: str) -> Command:
    """The module of a command, imported now."""
    return cast("Command", importlib.import_module(COMMANDS[name][0]))


def parse(words: Sequence[str], *, width: int | None = None) -> Namespace:
    """The arguments of what was typed, with the function that does it as ``run``.

    Raises ``UsageError``, and ``HelpAskedError`` for an option that asks for help.
    """
    before, rest = _split(list(words))
    if not rest:
        rest = ["help"]
    name = _ALIASES.get(rest[0], rest[0])
    if name not in COMMANDS:
        raise UsageError(PROGRAM, _not_a_command(name))
    top = new_parser([name], width=width)
    given = Namespace(command=name, run=load(name).run)
    if before:
        directories = Parser(PROGRAM, usage="", description="")
        add_directory(directories)
        directories.parse_args(before, given)
    # Intermixed, as options may stand between the names of topics and files.
    own = top.commands.made[name]
    arguments, unknown = own.parse_known_intermixed_args(rest[1:], given)
    if unknown:
        about = kcat.hint(unknown[0]) or f"no option or argument {unknown[0]!r}"
        raise UsageError(f"{PROGRAM} {name}", about)
    return arguments


def new_parser(names: Sequence[str], *, width: int | None = None) -> Parser:
    """The parser of the whole command line, knowing the options of the commands named."""
    top = Parser(
        PROGRAM,
        usage=f"{PROGRAM} [-d DIR] COMMAND [ARGUMENT...]",
        description=DESCRIPTION,
        epilog=EPILOG,
        width=width,
    )
    add_directory(top)
    subparsers = top.add_commands()
    for name in names:
        load(name).add_parser(subparsers)
    return top


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """The options before the command, and the command with what follows it.

    A line of kcat's is understood too: `-Ct TOPIC` is `consume -t TOPIC`.
    """
    at = 0
    while at < len(words):
        if words[at] in _WITH_VALUE:
            at += 2
        elif words[at].startswith(("--directory=", "-d", "-b")):
            at += 1
        else:
            break
    before, rest = words[:at], words[at:]
    if rest and kcat.is_kcats(rest[0]) and rest[0] not in _ALIASES:
        rest = kcat.translated(rest) or rest
    return before, rest


def _not_a_command(name: str) -> str:
    if name.startswith("-"):
        modes = "consume (-C), produce (-P), topics (-L)"
        needs = f"{name} needs a command before it: {modes}; `{PROGRAM} help` lists them all"
        return kcat.hint(name) or needs
    if name in _MEANT:
        return f"no command {name!r}; that is `{PROGRAM} {_MEANT[name]}` here"
    import difflib  # dear to import, and needed here alone

    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(COMMANDS)}"
    return f"no command {name!r}; {hint}"
