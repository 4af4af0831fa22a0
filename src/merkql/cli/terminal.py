"""Standard input, output and error of one run of the command: bytes, and who looks at them.

Colours, widths and progress are for people at a terminal; a pipe or a file gets plain bytes.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Callable, Mapping
from typing import Protocol, TextIO

from merkql.cli.progress import Progress

COLOURS = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}
BUFFER_SIZE = 1 << 16
WIDTH = 80


class RawStream(Protocol):
    """What is asked of a stream: an ``io.RawIOBase`` has it, and so has ``io.BytesIO``."""

    def write(self, data: bytes | memoryview, /) -> int | None:
        """Write some of it; how much, or None when nothing can be written now."""

    def isatty(self) -> bool:
        """Whether somebody looks."""

    def fileno(self) -> int:
        """The descriptor."""


class RawInput(Protocol):
    """What is asked of standard input."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Some of it, as soon as there is some; empty at its end."""

    def isatty(self) -> bool:
        """Whether somebody types."""

    def fileno(self) -> int:
        """The descriptor."""


class OutputError(Exception):
    """The output could not be written; ``__cause__`` says why."""


class Output:
    """Bytes on their way out, gathered; nothing is left in a buffer of Python's at the end."""

    def __init__(
        self,
        stream: RawStream | None,
        environment: Mapping[str, str],
        before_flush: Callable[[], object] = lambda: None,
    ) -> None:
        self._stream = stream
        self._before_flush = before_flush
        self._parts: list[bytes] = []
        self._size = 0
        self.is_terminal = stream is not None and stream.isatty()
        plain = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
        self.has_colours = self.is_terminal and not plain

    def write(self, data: bytes) -> None:
        """Bytes as they are. Raises ``BrokenPipeError`` when nobody reads any more."""
        self._parts.append(data)
        self._size += len(data)
        if self._size >= BUFFER_SIZE:
            self.flush()

    def print(self, text: str = "") -> None:
        """A line of text."""
        self.write(text.encode("utf-8", "surrogateescape") + b"\n")

    def paint(self, colour: str, text: str) -> str:
        """The text in a colour, where there are colours."""
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.has_colours else text

    def flush(self) -> None:
        """Hand everything to the system; raises ``OutputError`` when it is not taken."""
        self._before_flush()
        data = memoryview(b"".join(self._parts))
        self._parts, self._size = [], 0
        while data:
            try:
                data = data[self._write(data) :]
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OutputError(error.strerror) from error

    def _write(self, data: memoryview) -> int:
        if self._stream is None:
            raise OSError(errno.EBADF, "the output is closed")
        written = self._stream.write(data)
        if written is None:  # somebody made the pipe a non-blocking one, and it is full
            select.select([], [self._stream], [])
            return 0
        return written

    def has_reader(self) -> bool:
        """Whether somebody still reads: a closed pipe is told only to who writes, or asks."""
        self._before_flush()
        if self._stream is None or self.is_terminal or not hasattr(select, "poll"):
            return True
        try:
            descriptor = self._stream.fileno()
        except OSError:
            return True  # not a file of the system
        poll = select.poll()
        poll.register(descriptor, 0)
        return not any(event & select.POLLERR for _, event in poll.poll(0))


class Terminal:
    """What a command talks to. Remarks go to standard error, results to standard output."""

    def __init__(
        self,
        environment: Mapping[str, str],
        stdin: RawInput | None = None,
        stdout: RawStream | None = None,
        stderr: RawStream | None = None,
    ) -> None:
        self.environment = environment
        self.input = stdin
        self.out = Output(stdout, environment, self.say_remarks)
        self.err = Output(stderr, environment)
        self._remarks: list[str] = []
        self.quiet = False
        self._bar: Progress | None = None

    def remark(self, text: str) -> None:
        """What the library logs. Said before anything else is, unless that is the same."""
        if text not in self._remarks:
            self._remarks.append(text)

    def say_remarks(self) -> None:
        """Say what was kept back."""
        remarks, self._remarks = self._remarks, []
        for text in remarks:
            self.warn(text)

    def is_told(self, text: str) -> None:
        """This is reported in another way: as a remark it would be there twice."""
        self._remarks = [one for one in self._remarks if one != text]

    def note(self, text: str) -> None:
        """A remark for a person, in one line; not when quiet."""
        self.say_remarks()
        if not self.quiet:
            self._say(f"merkql: {text}")

    def warn(self, text: str) -> None:
        """A remark about something that is wrong and does not end the command."""
        self._say(f"merkql: {self.err.paint('yellow', 'warning')}: {text}")

    def fail(self, text: str) -> None:
        """Why the command ends; a line of its own."""
        self.is_told(text)
        self.say_remarks()
        self._say(f"merkql: {self.err.paint('red', 'error')}: {text}")

    def progress(self, label: str, unit: str = "records", *, is_shown: bool = True) -> Progress:
        """A line that shows how far something is, on a terminal, once it takes a second."""
        self.say_remarks()
        is_shown = is_shown and self.err.is_terminal and not self.quiet
        self._bar = Progress(self._draw, label, unit, is_shown=is_shown, width=lambda: self.width)
        return self._bar

    @property
    def input_is_terminal(self) -> bool:
        """Whether somebody types, so that somebody can be asked."""
        return self.input is not None and self.input.isatty()

    def ask(self, question: str) -> str:
        """What somebody at the terminal answers, in one line."""
        self._draw(question)
        assert self.input is not None
        answer = b""
        while not answer.endswith(b"\n"):
            some = self.input.read(4096)
            if not some:
                break
            answer += some
        return answer.decode("utf-8", "replace").strip()

    @property
    def width(self) -> int:
        """Columns of the terminal; of a common one where there is none."""
        try:
            return os.get_terminal_size(2).columns or WIDTH
        except OSError:
            return WIDTH

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        self._draw(text.replace("\n", " ") + "\n")

    def _draw(self, text: str) -> None:
        try:
            self.err.write(text.encode("utf-8", "surrogateescape"))
            self.err.flush()
        except (BrokenPipeError, OutputError):
            self.quiet = True  # nobody hears: no reason to end what is being done


def of_process(environment: Mapping[str, str]) -> Terminal:
    """The streams this process was started with; below Python's buffers, above the descriptors."""
    return Terminal(environment, _raw(sys.stdin), _raw(sys.stdout), _raw(sys.stderr))


def _raw(stream: TextIO | None) -> io.RawIOBase | None:
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)  # it is the raw one with PYTHONUNBUFFERED
