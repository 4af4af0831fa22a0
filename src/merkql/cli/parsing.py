"""The parser of the command line: argparse, with its errors in one line and its help the same
on every version of Python."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

HELP_WIDTH = 96
_HELP_COLUMN = 28


class UsageError(Exception):
    """What was typed cannot be meant; ``program`` is the command whose help says more."""

    def __init__(self, program: str, message: str) -> None:
        super().__init__(program, message)
        self.program = program
        self.message = message


class HelpAskedError(Exception):
    """An option asked for help; the argument is its text."""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse changes how it writes options between versions; this writes them one way."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        text = ", ".join(action.option_strings)
        if action.nargs == 0:
            return text
        metavar = action.metavar or action.dest.upper()
        return f"{text} {metavar}"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        filled = argparse.HelpFormatter._fill_text
        return "\n\n".join(
            part if part.startswith(" ") else filled(self, part, width, indent)
            for part in paragraphs
        )


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        raise HelpAskedError(parser.format_help())


class Parser(argparse.ArgumentParser):
    """Raises ``UsageError`` and ``HelpAskedError``, prints nothing and never exits."""

    def __init__(
        self,
        prog: str,
        *,
        usage: str,
        description: str,
        epilog: str | None = None,
        width: int | None = None,
        **_: object,
    ) -> None:
        width = min(width or HELP_WIDTH, HELP_WIDTH)
        super().__init__(
            prog,
            usage=usage,
            description=description,
            epilog=epilog,
            add_help=False,
            allow_abbrev=False,
            formatter_class=lambda prog: _Formatter(
                prog, width=width, max_help_position=_HELP_COLUMN
            ),
        )
        if sys.version_info >= (3, 14):
            self.color = False
        self.width = width
        self.commands: Subparsers
        self.add_argument("-h", "--help", nargs=0, action=_Help, help="show this help")

    def add_commands(self) -> Subparsers:
        """Where the parsers of commands are added, by ``new_command``."""
        action = self.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
        self.commands = Subparsers(action, self.width)
        return self.commands

    def error(self, message: str) -> NoReturn:
        raise UsageError(self.prog, message)


class Subparsers:
    """The parsers of the commands, below that of the whole line."""

    def __init__(self, action: Any, width: int) -> None:
        self._action = action
        self._width = width
        self.made: dict[str, Parser] = {}

    def add(self, name: str, **options: Any) -> Parser:
        """The new parser of a command; ``new_command`` says what it takes."""
        parser: Parser = self._action.add_parser(
            name, prog=f"merkql {name}", width=self._width, **options
        )
        self.made[name] = parser
        return parser


def new_command(
    subparsers: Subparsers,
    name: str,
    *,
    arguments: str,
    description: str,
    examples: Sequence[str] = (),
) -> Parser:
    """The parser of a command: ``arguments`` as its usage shows them, and what it is for.

    ``examples``: command lines that stand at the end of its help.
    """
    epilog = "examples:\n\n" + "\n".join(f"  {line}" for line in examples) if examples else None
    usage = f"merkql {name} {arguments}".strip()
    return subparsers.add(name, usage=usage, description=description, epilog=epilog)


def add_directory(parser: argparse.ArgumentParser) -> None:
    """The option that says which data directory; it may stand before and after the command."""
    parser.add_argument(
        "-d",
        "-b",
        "--directory",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="the data directory (default: $MERKQL_DIRECTORY, else the current one)",
    )


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """The option for programs that read what is printed."""
    parser.add_argument("-J", "--json", action="store_true", help=what)


def add_kcat(parser: argparse.ArgumentParser) -> None:
    """The option for those who have programs that read what kcat prints."""
    parser.add_argument(
        "--kcat", action="store_true", help="JSON as kcat has it; -C, -G and -L mean that"
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """The option that leaves the remarks out."""
    parser.add_argument("-q", "--quiet", action="store_true", help="no remarks, only errors")


def add_topic(parser: argparse.ArgumentParser) -> None:
    """One topic, by its name or as kcat has it; ``topic_of`` reads it."""
    parser.add_argument("name", metavar="TOPIC", nargs="?", help="the topic")
    parser.add_argument("-t", "--topic", metavar="TOPIC", help="the same, as kcat has it")


def add_yes(parser: argparse.ArgumentParser) -> None:
    """The option that answers the question of ``confirm``."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def confirm(arguments: argparse.Namespace, what: str) -> bool:
    """Whether the person at the terminal agrees, or ``--yes`` was given; else ``UsageError``."""
    if arguments.yes:
        return True
    terminal, command = arguments.terminal, arguments.command
    if not terminal.input_is_terminal:
        raise UsageError(f"merkql {command}", f"nobody can be asked about {what}: add --yes")
    answer: str = terminal.ask(f"{command} {what}, for good? [y/N] ")
    return answer.lower() in ("y", "yes")


def topic_of(arguments: argparse.Namespace) -> str:
    """The topic given, once; ``UsageError`` for none and for two."""
    program = f"merkql {arguments.command}"
    given = [one for one in (arguments.topic, arguments.name) if one is not None]
    if not given:
        raise UsageError(program, "which topic?")
    if len(given) > 1:
        raise UsageError(program, f"one topic, not both {given[0]!r} and {given[1]!r}")
    return str(given[0])
