"""One run of the command from what was typed to an exit status; every error becomes one line."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from merkql.cli.commands import parse
from merkql.cli.explaining import explained, in_words
from merkql.cli.parsing import HelpAskedError
from merkql.cli.status import FAILED, INTERRUPTED, OK, UNREAD
from merkql.cli.terminal import OutputError, Terminal


class Remarks(logging.Handler):
    """What the library logs (recovery, retention, groups), as remarks of the command."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        text = str(record.msg)
        if record.args and isinstance(record.args, tuple):
            text %= tuple(in_words(one) if isinstance(one, OSError) else one for one in record.args)
        self._terminal.remark(text)


def run(words: Sequence[str], terminal: Terminal) -> int:
    """Do what was typed; the exit status. Leaves nothing open and prints no traceback."""
    logger, remarks = logging.getLogger("merkql"), Remarks(terminal)
    logger.addHandler(remarks)
    try:
        status = _run(words, terminal)
        terminal.out.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return UNREAD
    except OutputError as error:
        terminal.fail(f"the output cannot be written: {error}")
        return FAILED
    except Exception as error:
        if terminal.environment.get("MERKQL_TRACEBACK"):
            raise
        text, status = explained(error)
        terminal.fail(text)
        return status
    finally:
        logger.removeHandler(remarks)
        terminal.say_remarks()


def _run(words: Sequence[str], terminal: Terminal) -> int:
    width = terminal.width if terminal.out.is_terminal else None
    try:
        arguments = parse(words, width=width)
        arguments.terminal = terminal
        if not hasattr(arguments, "directory"):
            arguments.directory = terminal.environment.get("MERKQL_DIRECTORY") or "."
        terminal.quiet = getattr(arguments, "quiet", False)
        status: int = arguments.run(arguments)
        return status
    except HelpAskedError as asked:
        terminal.out.write(str(asked).encode())
        return OK
