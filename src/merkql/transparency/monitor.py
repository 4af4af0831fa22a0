"""Follows a log as an outsider: checks each new checkpoint, down to every leaf, against the last.

What was verified is stored in a state directory, after the check and never before. A fork stays an
alarm until somebody removes it, with both signed notes as evidence.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from merkql._core.frontier import Frontier
from merkql.errors import CorruptionError
from merkql.proof import ProofError
from merkql.storage.files import Files, read_file, replace_file
from merkql.transparency.checkpoint import Checkpoint
from merkql.transparency.note import Note, parse_note
from merkql.transparency.policy import Policy
from merkql.transparency.sources import MissingError, Source
from merkql.transparency.tiles import (
    ENTRIES,
    HASH_SIZE,
    levels_of,
    tiles_of_level,
)

logger = logging.getLogger("merkql.monitor")
FORMAT = "merkql-monitor/v1"
FORK, ROLLBACK, MISSING, WRONG, UNSIGNED = "fork", "rollback", "missing", "wrong", "unsigned"
KINDS = (FORK, ROLLBACK, MISSING, WRONG, UNSIGNED)
PROVEN = (FORK,)  # proved by two signed notes, so no later answer clears it


class AlarmError(Exception):
    """The log is not what it claims: the kind of alarm, and a message that names the place."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


@dataclass(frozen=True, slots=True)
class Status:
    """The result of one check of a log. ``alarm`` is empty or its kind; ``message`` says more.

    ``size`` is that of the last verified checkpoint, ``checked_s`` the time of that, since 1970.
    """

    source: str
    origin: str
    size: int
    size_before: int
    checked_s: float
    witnesses: int
    alarm: str = ""
    message: str = ""


@dataclass(slots=True)
class _State:
    """What is stored about one log."""

    origin: str
    size: int = 0
    peaks: bytes = b""
    note: str = ""
    checked_s: float = 0.0
    witnesses: int = 0
    alarm: str = ""
    message: str = ""


class Monitor:
    """Follows logs under one policy, with its state in ``directory``."""

    def __init__(
        self,
        policy: Policy,
        directory: str | os.PathLike[str],
        *,
        files: Files | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._policy = policy
        self._files = files or Files()
        self._now_s = now_s
        self._directory = os.path.abspath(os.fspath(directory))
        self._files.make_directories(self._directory)

    def look(self, source: Source) -> Status:
        """Check what is new in a log. Alarms are in the status; ``OSError`` if it is unreachable.

        Cost: reads and hashes every entry since the last time.
        """
        state = self._load(self._known_origin(source.name))
        before, evidence = state.size, b""
        try:
            evidence = source.checkpoint()
            note = parse_note(evidence)
            verdict = self._policy.judge(note)
            checkpoint = verdict.checkpoint
            if not state.origin:
                state = self._load(checkpoint.origin)
                before = state.size
            self._check(source, state, checkpoint, note)
            if not verdict.has_quorum:
                count = len(verdict.witnesses)
                raise AlarmError(UNSIGNED, f"{count} witnesses saw the newest checkpoint: too few")
            state.witnesses = len(verdict.witnesses)
            if state.alarm not in PROVEN:
                state.alarm = state.message = ""
        except ProofError as error:
            self._sound(source, state, AlarmError(UNSIGNED, str(error)), b"")
        except MissingError as error:
            self._sound(source, state, AlarmError(MISSING, str(error)), b"")
        except CorruptionError as error:
            self._sound(source, state, AlarmError(WRONG, str(error)), b"")
        except AlarmError as alarm:
            self._sound(source, state, alarm, evidence)
        self._save(source, state)
        return Status(
            source.name,
            state.origin,
            state.size,
            before,
            state.checked_s,
            state.witnesses,
            state.alarm,
            state.message,
        )

    def _check(self, source: Source, state: _State, new: Checkpoint, note: Note) -> None:
        if state.origin and new.origin != state.origin:
            raise AlarmError(FORK, f"{source.name} was {state.origin} and is {new.origin} now")
        state.origin = new.origin
        if new.size < state.size:
            raise AlarmError(
                ROLLBACK, f"{new.origin} had {state.size} records and says it has {new.size}"
            )
        frontier = Frontier(state.size, state.peaks)
        if new.size > state.size:
            _Reading(source, frontier, new).read()
        if frontier.root() != new.root:
            if new.size > state.size and _shown_root(source, new) != new.root:
                raise AlarmError(WRONG, f"{source.name}: the tiles do not lead to the signed root")
            raise AlarmError(
                FORK,
                f"{new.origin} signed another past: its {new.size} records do not go on from the "
                f"{state.size} that it signed before",
            )
        state.size, state.peaks = new.size, frontier.peaks
        state.note, state.checked_s = note.encode().decode(), self._now_s()

    def _sound(self, source: Source, state: _State, alarm: AlarmError, evidence: bytes) -> None:
        logger.error("%s: %s", source.name, alarm)
        if state.alarm in PROVEN:
            return  # keep the first one
        state.alarm, state.message = alarm.kind, alarm.message
        if alarm.kind in PROVEN:
            name = f"{alarm.kind}-{sha256(evidence).hexdigest()[:16]}"
            first = os.path.join(self._directory, f"{name}.signed-before")
            replace_file(self._files, first, state.note.encode())
            replace_file(self._files, os.path.join(self._directory, f"{name}.signed-now"), evidence)
            state.message += f"; both notes are kept as {first} and {name}.signed-now"

    def _path(self, origin: str) -> str:
        return os.path.join(self._directory, sha256(origin.encode()).hexdigest() + ".json")

    def _pointer(self, source: str) -> str:
        return os.path.join(self._directory, sha256(source.encode()).hexdigest() + ".source")

    def _known_origin(self, source: str) -> str:
        try:
            return read_file(self._files, self._pointer(source)).decode()
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            reason = "not the origin of a log; put it back, or remove it"
            raise CorruptionError(self._pointer(source), 0, reason) from None

    def _load(self, origin: str) -> _State:
        path = self._path(origin)
        try:
            content = json.loads(read_file(self._files, path))
            if content.pop("format") != FORMAT or not isinstance(content, dict):
                raise ValueError("another format")
            content["peaks"] = bytes.fromhex(content["peaks"])
            state = _State(**content)
            if len(state.peaks) != HASH_SIZE * state.size.bit_count():
                raise ValueError("the peaks are not those of the size")
        except FileNotFoundError:
            return _State(origin)
        except (ValueError, KeyError, TypeError) as error:
            reason = f"not a monitor's state: {error}; put it back, or remove it to begin anew"
            raise CorruptionError(path, 0, reason) from None
        return state

    def _save(self, source: Source, state: _State) -> None:
        if not state.origin:
            return  # never reached a checkpoint
        content = {
            "format": FORMAT,
            **{name: getattr(state, name) for name in _State.__slots__},
            "peaks": state.peaks.hex(),
        }
        text = json.dumps(content, indent=1).encode() + b"\n"
        replace_file(self._files, self._path(state.origin), text)
        if self._known_origin(source.name) != state.origin:
            replace_file(self._files, self._pointer(source.name), state.origin.encode())


class _Reading:
    """Reads all entries and tiles of a log between two sizes and checks each against the others."""

    def __init__(self, source: Source, frontier: Frontier, checkpoint: Checkpoint) -> None:
        self._source = source
        self._frontier = frontier
        self._begin = frontier.size
        self._size = checkpoint.size
        self._grown: dict[int, bytearray] = {}  # hashes added, by level of tiles

    def read(self) -> None:
        """Extend the frontier with what the source serves; ``AlarmError`` if it is not one tree."""
        entries = tiles_of_level(ENTRIES, self._size, self._begin)
        hashes = tiles_of_level(0, self._size, self._begin)
        for bundle, tile in zip(entries, hashes, strict=True):
            shown = self._hashes(self._source.tile(tile), tile.width, tile.path)
            if bundle.first >= self._source.entries_from:
                self._compare(self._source.tile(bundle), shown, bundle.first)
            new = shown[max(0, self._begin - tile.first) * HASH_SIZE :]
            for level, _, added in self._frontier.append(new):
                if level and level % 8 == 0:
                    self._grown.setdefault(level // 8, bytearray()).extend(added)
        for level in levels_of(self._size)[1:]:
            self._check_level(level)

    def _hashes(self, content: bytes, width: int, path: str) -> bytes:
        if len(content) < width * HASH_SIZE:
            raise AlarmError(WRONG, f"{self._source.name}: {path} is cut short")
        return content[: width * HASH_SIZE]

    def _compare(self, bundle: bytes, shown: bytes, first: int) -> None:
        at = 0
        for index in range(len(shown) // HASH_SIZE):
            size = int.from_bytes(bundle[at : at + 2], "big")
            entry = bundle[at + 2 : at + 2 + size]
            at += 2 + size
            if at > len(bundle):
                raise AlarmError(WRONG, f"{self._source.name}: entries from {first} are cut short")
            leaf = sha256(b"\0" + entry).digest()
            if leaf != shown[index * HASH_SIZE : (index + 1) * HASH_SIZE]:
                raise AlarmError(
                    WRONG, f"{self._source.name}: the entry {first + index} is not the leaf there"
                )

    def _check_level(self, level: int) -> None:
        grown, known = self._grown.get(level, bytearray()), self._begin >> 8 * level
        for tile in tiles_of_level(level, self._size, self._begin):
            shown = self._hashes(self._source.tile(tile), tile.width, tile.path)
            skipped = max(0, known - tile.first)
            expected = grown[(tile.first + skipped - known) * HASH_SIZE :]
            if shown[skipped * HASH_SIZE :] != expected[: (tile.width - skipped) * HASH_SIZE]:
                raise AlarmError(
                    WRONG, f"{self._source.name}: {tile.path} is not made of the leaves below it"
                )


def _shown_root(source: Source, checkpoint: Checkpoint) -> bytes:
    """The root over all leaves the source serves; computed only when something is wrong."""
    frontier = Frontier()
    for tile in tiles_of_level(0, checkpoint.size):
        frontier.append(source.tile(tile)[: tile.width * HASH_SIZE])
    return frontier.root()


def prometheus(statuses: Sequence[Status], unreached: Sequence[str] = ()) -> str:
    """The statuses as metrics, for the textfile collector of Prometheus' node_exporter.

    ``unreached`` are sources that gave no status. One log may come from several sources.
    """
    meanings = {
        "up": ("gauge", "1 if the source was reached."),
        "size_records": ("gauge", "Records under the last checkpoint verified."),
        "checked_timestamp_seconds": ("gauge", "When that was verified."),
        "witnesses": ("gauge", "Witnesses of the policy that signed it."),
        "alarm": ("gauge", "1 for each kind of alarm that stands."),
    }
    lines = []
    for name, (kind, meaning) in meanings.items():
        lines += [f"# HELP merkql_monitor_{name} {meaning}", f"# TYPE merkql_monitor_{name} {kind}"]
        for one in statuses:
            source = f'source="{_escaped(one.source)}"'
            label = f'origin="{_escaped(one.origin or one.source)}",{source}'
            if name == "alarm":
                lines += [
                    f'merkql_monitor_alarm{{{label},kind="{k}"}} {int(one.alarm == k)}'
                    for k in KINDS
                ]
                continue
            value = {
                "up": 1,
                "size_records": one.size,
                "checked_timestamp_seconds": round(one.checked_s, 3),
                "witnesses": one.witnesses,
            }[name]
            lines.append(f"merkql_monitor_{name}{{{source if name == 'up' else label}}} {value}")
        if name == "up":
            lines += [f'merkql_monitor_up{{source="{_escaped(one)}"}} 0' for one in unreached]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
