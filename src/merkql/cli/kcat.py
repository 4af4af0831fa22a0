"""kcat's command line made into ours: its modes, letters in one word, and what it alone has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from merkql.cli.parsing import UsageError

PROGRAM = "merkql"
MODES = {"C": "consume", "G": "consume", "P": "produce", "L": "topics", "Q": "topics"}
_WITH_VALUE = frozenset("tpbzoDKkHdXcfsrmMG")  # -F has a file in kcat, and no value here
_FLAGS = frozenset("CPLQeEOqvTuZlJUF")
_SAYS_NOTHING = {  # letters with no effect here
    "consume": {"-v"},
    "produce": {"-v", "-u", "-e"},
    "topics": {"-v", "-u", "-e"},
}

# What kcat has and merkql cannot have, with the way to what is meant.
_ALONE = {
    "-X": "there is no librdkafka to set; what a topic keeps and syncs, `merkql create` says",
    "-z": "compression is a topic's: `merkql create TOPIC --compression lz4`",
    "-s": "nothing is decoded; -f, --json and --raw print what is there",
    "-r": "there is no schema registry; -f, --json and --raw print what is there",
    "-m": "there is no broker to wait for",
    "-M": "nothing has to be mocked: any new directory is a log, such as -d /tmp/events",
    "-E": "no error here passes by itself; each says what to do",
    "-v": "there is no more to say; -q says less",
    "-U": "the tests are in the repository: `make test`",
}
# The same of Kafka's own console programs and of rpk.
_LONG = {
    "--from-beginning": "that is where it begins; -o end prints only what is to come",
    "--max-messages": "-c N stops after N records",
    "--num": "-c N stops after N records",
    "--bootstrap-server": "there is no broker; -d DIR names the directory",
    "--broker-list": "there is no broker; -d DIR names the directory",
    "--brokers": "there is no broker; -d DIR names the directory",
    "--property": "-K SEP is for keys, -H for headers, -f prints anything",
    "--replication-factor": "there is one copy: that of the directory",
    "--replicas": "there is one copy: that of the directory",
    "--config": "each setting is an option of its own",
    "--list": "`merkql topics` lists the topics, `merkql groups` the groups",
    "--describe": "`merkql topics TOPIC` and `merkql groups GROUP` do that",
}


def hint(word: str) -> str | None:
    """What there is instead of an option that other programs have."""
    if word.startswith("--"):
        name = word.partition("=")[0]
        return None if name not in _LONG else f"{name}: {_LONG[name]}"
    return None if word[:2] not in _ALONE else f"{word[:2]}: {_ALONE[word[:2]]}"


@dataclass
class _Line:
    """What a line of kcat's says."""

    mode: str | None = None
    words: list[tuple[str, str | None]] = field(default_factory=list)  # option and value; or a word

    def set_mode(self, letter: str) -> None:
        if self.mode is not None and self.mode != letter:
            raise UsageError(PROGRAM, f"one mode, not both -{self.mode} and -{letter}")
        self.mode = letter

    def values(self, option: str) -> list[str]:
        return [value for one, value in self.words if one == option and value is not None]


def is_kcats(word: str) -> bool:
    """Whether a line that begins with it may be one of kcat's: letters behind a single dash."""
    return word.startswith("-") and not word.startswith("--") and len(word) > 1


def translated(words: Sequence[str]) -> list[str] | None:
    """`-CJt TOPIC -o -10` as ours has it, the command first; None where no mode is named.

    Raises ``UsageError`` for two modes, and for one that is another command here.
    """
    line = _read(words)
    if line.mode is None:
        return None
    if line.mode == "Q":
        raise UsageError(PROGRAM, f"-Q is `{_query(line.values('-t'))}` here")
    command = MODES[line.mode]
    made = [command]
    if command != "produce":
        made.append("--kcat")
    for option, value in line.words:
        if value is None:
            made += [option] if option not in _SAYS_NOTHING[command] else []
        else:  # in one word where the value would pass for an option
            made += [option + value] if value.startswith("-") else [option, value]
    return made


def _read(words: Sequence[str]) -> _Line:
    """As getopt reads it: letters may share a word, the last of them may have a value."""
    line, rest = _Line(), iter(words)
    for word in rest:
        if word == "--":
            line.words += [(one, None) for one in ("--", *rest)]
        elif not is_kcats(word) or not set(word[1]) <= _FLAGS | _WITH_VALUE:
            line.words.append((word, None))  # a name, or an option of ours
        else:
            _read_letters(word, rest, line)
    return line


def _read_letters(word: str, rest: Iterator[str], line: _Line) -> None:
    for at, letter in enumerate(word[1:], start=2):
        if letter in MODES:
            line.set_mode(letter)
        if letter in _WITH_VALUE:
            value = word[at:] or next(rest, None)
            line.words.append((f"-{letter}", value))
            return
        if letter not in MODES:
            line.words.append((f"-{letter}", None))


def _query(asked: Sequence[str]) -> str:
    """What `-Q -t TOPIC:PARTITION:TIME` is here."""
    topic, _, time = (asked[0] if asked else "").rpartition(":")
    topic = topic.rpartition(":")[0]
    return f"merkql topics {topic or 'TOPIC'} --at {time if topic else 'TIME'}"
