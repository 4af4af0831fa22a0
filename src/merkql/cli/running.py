"""One run of the command from what was typed to an exit status; every error becomes one line."""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence

from merkql.cli.commands import parse
from merkql.cli.parsing import HelpAskedError, UsageError
from merkql.cli.terminal import OutputError, Terminal
from merkql.errors import (
    CorruptionError,
    DirectoryLockedError,
    MerkqlError,
    UnknownTopicError,
    UnprovenRecordError,
)

OK = 0
FAILED = 1  # an error, named on standard error
MISUSED = 2  # what was typed cannot be done
DAMAGED = 3  # bytes on disk are wrong
BUG = 70  # our own mistake, as sysexits.h has it
INTERRUPTED = 130  # Ctrl-C, as shells count
UNREAD = 141  # nobody reads the output any more


class _Remarks(logging.Handler):
    """What the library logs (recovery, retention, groups), as remarks of the command."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self._terminal.warn(record.getMessage())


def run(words: Sequence[str], terminal: Terminal) -> int:
    """Do what was typed; the exit status. Leaves nothing open and prints no traceback."""
    logger, remarks = logging.getLogger("merkql"), _Remarks(terminal)
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
        text, status = _explained(error)
        terminal.fail(text)
        return status
    finally:
        logger.removeHandler(remarks)


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


def _explained(error: Exception) -> tuple[str, int]:
    """An error as one line, and the status it leads to."""
    if isinstance(error, UsageError):
        return f"{error.message} (see `{error.program} --help`)", MISUSED
    if isinstance(error, (CorruptionError, UnprovenRecordError)):
        return str(error), DAMAGED
    if isinstance(error, UnknownTopicError):
        was_deleted = "deleted" in error.hint
        hint = "it was deleted" if was_deleted else "`merkql topics` lists what there is"
        return f"no topic {error.topic!r}; {hint}", FAILED
    if isinstance(error, DirectoryLockedError):
        return f"{error.path} is being written by {error.holder}: wait for it, or end it", FAILED
    if isinstance(error, MerkqlError):
        return str(error), FAILED
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        where = f"{error.filename}: " if error.filename else ""
        space = "; free some space and go on" if error.errno == errno.ENOSPC else ""
        return f"{where}{reason}{space}", FAILED
    if isinstance(error, ValueError):  # the library refused what was typed
        return str(error), MISUSED
    if isinstance(error, MemoryError):
        return "out of memory", FAILED
    text = f"{type(error).__name__}: {error}"
    return f"a mistake of merkql's own, please report it: {text}", BUG
