"""``merkql produce``: standard input, or files, into a topic, durable in batches."""

from __future__ import annotations

import io
import os
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from merkql._core.record import ProducerRecord
from merkql.broker import Broker
from merkql.cli.chosen import topic_and_rest
from merkql.cli.opening import to_write
from merkql.cli.parsing import (
    Parser,
    Subparsers,
    UsageError,
    add_directory,
    add_json,
    add_quiet,
    new_command,
)
from merkql.cli.progress import Progress
from merkql.cli.quantities import count, counted, partition
from merkql.cli.record_lines import Header, Lines, LineStyle
from merkql.cli.record_text import separator
from merkql.cli.terminal import RawInput, Terminal

BATCH_COUNT = 10_000  # records of one write, with one sync
BATCH_BYTES = 4 << 20


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql produce TOPIC [FILE...]``."""
    parser = new_command(
        subparsers,
        "produce",
        arguments="[OPTION...] TOPIC [FILE...]",
        description="Write a record for each line of standard input; with FILEs, one for each "
        "file, or for each of their lines (-l). What is there is written at once, in batches that "
        "are durable before the next is read; at the end it says how many records that were. A "
        "topic that is not there is created with one partition.\n\n"
        "With --json a line is an object with value, and key, headers and timestamp_ms if they "
        "are wanted: what `merkql consume --json` prints, and `kcat -J`. Its topic, partition and "
        "offset are passed over.",
        examples=(
            "tail -F access.log | merkql produce requests",
            "printf 'order-42:paid\\n' | merkql produce orders -K:",
            'echo \'{"key":"a","value":{"n":1},"headers":{"h":"x"}}\' | merkql produce orders -J',
        ),
    )
    add_directory(parser)
    parser.add_argument("names", metavar="TOPIC", nargs="*", help="the topic, and files if any")
    parser.add_argument("-t", "--topic", metavar="TOPIC", help="the topic; then all else is files")
    parser.add_argument("-p", "--partition", metavar="N", type=partition, help="to this partition")
    parser.add_argument(
        "-K", dest="key_separator", metavar="SEP", type=separator, help="the key ends at SEP"
    )
    parser.add_argument("-k", "--key", metavar="KEY", help="the key of every record without one")
    parser.add_argument(
        "-H",
        "--header",
        metavar="NAME=VALUE",
        type=_header,
        action="append",
        default=[],
        help="a header of every record; NAME alone has none, and -H may be repeated",
    )
    parser.add_argument(
        "-D", "--delimiter", metavar="SEP", type=separator, default=b"\n", help="lines end at SEP"
    )
    parser.add_argument("-Z", "--null", action="store_true", help="empty keys and values are null")
    parser.add_argument("-l", "--lines", action="store_true", help="FILEs have a record a line")
    parser.add_argument("-c", "--count", metavar="N", type=count, help="stop after N records")
    parser.add_argument("-T", "--tee", action="store_true", help="print what is written as well")
    add_json(parser, "lines are JSON objects")
    add_quiet(parser)
    return parser


def run(arguments: Namespace) -> int:
    """Write the records; the status is 0 when all of them are durable."""
    topic, files = topic_and_rest(arguments)
    style = LineStyle(
        topic,
        arguments.partition,
        arguments.key_separator,
        None if arguments.key is None else os.fsencode(arguments.key),
        tuple(arguments.header),
        arguments.null,
    )
    with to_write(arguments, may_create=True) as broker:
        _Production(arguments, broker, style).run(files)
    return 0


class _Production:
    """One run: what is to be sent, what was."""

    def __init__(self, arguments: Namespace, broker: Broker, style: LineStyle) -> None:
        self._arguments = arguments
        self._terminal: Terminal = arguments.terminal
        self._style = style
        self._parse = style.parser(is_json=arguments.json)
        if style.topic not in broker.topics():
            broker.create_topic(style.topic)
            self._terminal.note(f"created topic {style.topic!r} with 1 partition")
        self._topic = broker.topic(style.topic)
        if style.partition is not None:
            self._topic.partition(style.partition)  # raises for one that is not there
        self._producer = broker.producer()
        # Lines that are values alone, for one partition, need not become records first.
        self._is_plain = (
            style.is_plain
            and not arguments.json
            and (style.partition is not None or self._topic.partition_count == 1)
        )
        self._left: int | None = arguments.count
        self._read = 0  # lines
        self.written = 0

    def run(self, files: Sequence[str]) -> None:
        with self._telling_how_many() as bar:
            if files and not self._arguments.lines:
                for path in files:
                    if self._left != 0:
                        self._send([_whole(path)], bar)
                return
            for path in files or ["-"]:
                with _opened(path, self._terminal) as stream:
                    self._send_lines(stream, bar)

    @contextmanager
    def _telling_how_many(self) -> Iterator[Progress]:
        try:
            with self._terminal.progress(f"to {self._style.topic}") as bar:
                yield bar
        finally:
            written = counted(self.written, "record")
            self._terminal.note(f"{written} written to topic {self._style.topic!r}")

    def _send_lines(self, stream: RawInput, bar: Progress) -> None:
        lines = Lines(stream, self._arguments.delimiter, self._topic.config.segment_bytes)
        waiting: list[bytes] = []
        size = 0
        try:
            for some in lines:
                waiting += some
                size += sum(map(len, some))
                if len(waiting) >= BATCH_COUNT or size >= BATCH_BYTES or not lines.has_more():
                    sending, waiting, size = waiting, [], 0
                    self._send_all(sending, bar)
                if self._left == 0:
                    return
        finally:
            self._send_all(waiting, bar)  # a line that is too large keeps none before it back

    def _send_all(self, lines: Sequence[bytes], bar: Progress) -> None:
        """In pieces, each of which is one write."""
        begin = size = 0
        for index, line in enumerate(lines):
            size += len(line)
            if size >= BATCH_BYTES or index + 1 - begin >= BATCH_COUNT:
                self._send(lines[begin : index + 1], bar)
                begin, size = index + 1, 0
        self._send(lines[begin:], bar)

    def _send(self, lines: Sequence[bytes], bar: Progress) -> None:
        if self._left is not None:
            lines = lines[: self._left]
        if not lines:
            return
        if self._is_plain:
            partition = self._style.partition or 0
            values = [self._style.value_of(line) for line in lines]
            self._producer.send_values(self._style.topic, values, partition=partition)
            self._sent(lines, bar)
        else:
            self._send_records(lines, bar)

    def _send_records(self, lines: Sequence[bytes], bar: Progress) -> None:
        """A line that is no record ends it all, after those before it are written."""
        records: list[ProducerRecord] = []
        sent: list[bytes] = []
        try:
            for line in lines:
                self._read += 1
                record = self._parse(line, self._read)
                if record is not None:
                    records.append(record)
                    sent.append(line)
        finally:
            if records:
                self._producer.send_batch(records)
                self._sent(sent[: len(records)], bar)

    def _sent(self, lines: Sequence[bytes], bar: Progress) -> None:
        self.written += len(lines)
        if self._left is not None:
            self._left -= len(lines)
        if self._arguments.tee:
            delimiter = self._arguments.delimiter
            self._terminal.out.write(b"".join([line + delimiter for line in lines]))
            self._terminal.out.flush()
        bar.update(self.written)


def _header(text: str) -> Header:
    name, found, value = text.partition("=")
    if not name:
        raise ArgumentTypeError(f"{text!r} is not a header: write NAME=VALUE")
    try:  # where the locale is not UTF-8 its bytes came as surrogates
        name = os.fsencode(name).decode()
    except UnicodeDecodeError:
        raise ArgumentTypeError("the name of a header is UTF-8") from None
    return name, os.fsencode(value) if found else None


@contextmanager
def _opened(path: str, terminal: Terminal) -> Iterator[RawInput]:
    if path == "-":
        if terminal.input is None:
            raise UsageError("merkql produce", "standard input is closed")
        if terminal.input_is_terminal:
            terminal.note("a record a line; Ctrl-D ends it")
        yield terminal.input
        return
    with io.FileIO(path) as file:
        yield file


def _whole(path: str) -> bytes:
    with io.FileIO(path) as file:
        return file.readall()
