"""``merkql help``: the commands there are, or the help of one."""

from __future__ import annotations

from argparse import Namespace

from merkql.cli.commands import COMMANDS, DESCRIPTION, EPILOG, new_parser
from merkql.cli.parsing import HelpAskedError, Parser, Subparsers, UsageError, new_command


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql help [COMMAND]``."""
    parser = new_command(
        subparsers, "help", arguments="[COMMAND]", description="Say what a command does."
    )
    parser.add_argument("name", metavar="COMMAND", nargs="?", help="the command (default: all)")
    return parser


def run(arguments: Namespace) -> int:
    """Print the help; the status is 0."""
    if arguments.name is None:
        arguments.terminal.out.write(overview().encode())
        return 0
    if arguments.name not in COMMANDS:
        raise UsageError("merkql help", f"no command {arguments.name!r}")
    width = arguments.terminal.width if arguments.terminal.out.is_terminal else None
    new_parser([arguments.name], width=width).parse_args([arguments.name, "--help"])
    raise HelpAskedError("")  # the line above has raised it, with the text


def overview() -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS)) + 2
    rows = "\n".join(f"  {name:<{width}}{summary}" for name, (_, summary) in COMMANDS.items())
    return (
        f"usage: merkql [-d DIR] COMMAND [ARGUMENT...]\n\n{DESCRIPTION}\n\n{rows}\n\n"
        f"{_wrapped(EPILOG)}\n"
    )


def _wrapped(text: str) -> str:
    import textwrap

    return textwrap.fill(text, 80)
