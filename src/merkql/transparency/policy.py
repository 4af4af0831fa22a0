"""Which signatures suffice (c2sp.org/tlog-policy): logs, witnesses, groups and a quorum.

log <vkey> [url]
    witness <name> <vkey> [url]
    group <name> all|any|<k> <member>...
    quorum <name>|none

One statement a line, ``#`` begins a comment line, names are defined before they are used.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from merkql.transparency.checkpoint import Checkpoint, parse_checkpoint
from merkql.transparency.note import (
    COSIGNATURE,
    ED25519,
    Note,
    NoteError,
    Signature,
    VerifierKey,
    verified_by,
)

LINES_MAX = 10_000
DEPTH_MAX = 32
_WORDS = {"log": (1, 2), "witness": (2, 3), "group": (3, LINES_MAX), "quorum": (1, 1)}


class PolicyError(ValueError):
    """The policy file is malformed; the message names the line."""


@dataclass(frozen=True, slots=True)
class Party:
    """A key and its URL; no URL for one that is never contacted."""

    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Satisfied if at least ``needed`` of its members are."""

    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The logs and witnesses that validly signed a checkpoint."""

    checkpoint: Checkpoint
    logs: dict[VerifierKey, Signature]
    witnesses: dict[VerifierKey, Signature]
    has_quorum: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """The trusted logs, and the witnesses of which a quorum must have signed."""

    logs: tuple[Party, ...]
    witnesses: dict[str, Party] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    quorum: str = "none"

    @classmethod
    def of_keys(
        cls, logs: Collection[VerifierKey], witnesses: Collection[VerifierKey] = (), needed: int = 0
    ) -> Policy:
        """Any of the logs' keys, and ``needed`` of the witnesses."""
        parties = {key.name: Party(key) for key in witnesses}
        if not needed:
            return cls(tuple(map(Party, logs)), parties)
        if needed > len(parties):
            raise PolicyError(f"{needed} witnesses are asked for, {len(parties)} are named")
        groups = {"quorum": Group(needed, tuple(parties))}
        return cls(tuple(map(Party, logs)), parties, groups, "quorum")

    def satisfied_by(self, names: Collection[str]) -> bool:
        """Whether the witnesses with these names are a quorum."""
        return self.quorum == "none" or self._holds(self.quorum, names)

    def judge(self, note: Note) -> Verdict:
        """The note's valid signatures. ``NoteError`` if no trusted log signed it, or for a forgery.

        A log's key counts under its own name and under any origin that begins with that and a
        slash, which is how merkql signs a partition's notes.
        """
        checkpoint = parse_checkpoint(note.text)
        if not checkpoint.is_possible:
            raise NoteError("the checkpoint of an empty log has another root")
        logs = [key_for(party.key, checkpoint.origin) for party in self.logs]
        found = verified_by(note, [key for key in logs if key is not None])
        if not found:
            raise NoteError(f"no trusted log signed this checkpoint of {checkpoint.origin}")
        witnesses = verified_by(note, [party.key for party in self.witnesses.values()])
        names = [name for name, party in self.witnesses.items() if party.key in witnesses]
        return Verdict(checkpoint, found, witnesses, self.satisfied_by(names))

    def check(self, note: Note) -> Checkpoint:
        """The note's checkpoint; ``NoteError`` unless a log and a quorum signed it."""
        verdict = self.judge(note)
        if not verdict.has_quorum:
            raise NoteError(
                f"witnesses that saw it: {len(verdict.witnesses)}; that is no quorum of the policy"
            )
        return verdict.checkpoint

    def _holds(self, name: str, names: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in names
        return sum(self._holds(member, names) for member in group.members) >= group.needed


def key_for(key: VerifierKey, origin: str) -> VerifierKey | None:
    """The name ``key`` signs checkpoints of ``origin`` under; None for an origin not its own."""
    if key.algorithm != ED25519:
        return None
    if origin == key.name or origin.startswith(key.name + "/"):
        return key.named(origin)
    return None


def parse_policy(text: str) -> Policy:
    """The policy in a file's text; ``PolicyError`` names the line at fault."""
    lines = text.split("\n")
    if len(lines) > LINES_MAX:
        raise PolicyError(f"more than {LINES_MAX} lines")
    parser = _Parser()
    for number, line in enumerate(lines, 1):
        words = line.replace("\t", " ").split(" ")
        words = [word for word in words if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            parser.take(words)
        except (NoteError, PolicyError) as error:
            raise PolicyError(f"line {number}: {error}") from None
    return parser.result()


class _Parser:
    """Parses statement by statement; every name is defined once, before its use."""

    def __init__(self) -> None:
        self._logs: list[Party] = []
        self._witnesses: dict[str, Party] = {}
        self._groups: dict[str, Group] = {}
        self._members: set[str] = set()
        self._keys: set[bytes] = set()
        self._depths: dict[str, int] = {}  # of groups
        self._quorum: str | None = None

    def take(self, words: list[str]) -> None:
        kind, *rest = words
        if kind not in _WORDS:
            raise PolicyError(f"no statement {kind!r}: there are log, witness, group and quorum")
        count_min, count_max = _WORDS[kind]
        if not count_min <= len(rest) <= count_max:
            raise PolicyError(f"a {kind} line has another number of words")
        getattr(self, f"_take_{kind}")(rest)

    def result(self) -> Policy:
        if self._quorum is None:
            raise PolicyError("no quorum line: say `quorum none` if no witness is needed")
        return Policy(tuple(self._logs), self._witnesses, self._groups, self._quorum)

    def _take_log(self, words: list[str]) -> None:
        self._logs.append(Party(self._key(words[0], ED25519), *words[1:]))

    def _take_witness(self, words: list[str]) -> None:
        name = self._new_name(words[0])
        self._witnesses[name] = Party(self._key(words[1], COSIGNATURE), *words[2:])

    def _take_group(self, words: list[str]) -> None:
        name, needed, *members = words
        for member in members:
            if member not in self._witnesses and member not in self._groups:
                raise PolicyError(f"{member!r} is used before it is defined")
            if member in self._members:
                raise PolicyError(f"{member!r} is in two groups")
            self._members.add(member)
        counts = {"all": len(members), "any": 1}
        is_plain = re.fullmatch("[1-9][0-9]{0,4}", needed)
        count = counts.get(needed) or (int(needed) if is_plain else 0)
        self._depths[name] = 1 + max(self._depths.get(member, 0) for member in members)
        if self._depths[name] > DEPTH_MAX:
            raise PolicyError(f"groups within groups, more than {DEPTH_MAX} deep")
        if not 1 <= count <= len(members):
            raise PolicyError(f"of {len(members)} members, {needed} cannot be asked for")
        self._groups[self._new_name(name)] = Group(count, tuple(members))

    def _take_quorum(self, words: list[str]) -> None:
        if self._quorum is not None:
            raise PolicyError("a second quorum line")
        (name,) = words
        if name != "none" and name not in self._witnesses and name not in self._groups:
            raise PolicyError(f"{name!r} is used before it is defined")
        self._quorum = name

    def _new_name(self, name: str) -> str:
        if name == "none" or name in self._witnesses or name in self._groups:
            raise PolicyError(f"the name {name!r} is taken")
        return name

    def _key(self, text: str, algorithm: int) -> VerifierKey:
        key = VerifierKey.parse(text)
        if key.algorithm != algorithm:
            wanted = "a log" if algorithm == ED25519 else "a witness"
            raise PolicyError(f"{key.name}: the key of {wanted} is needed here")
        if key.public in self._keys:
            raise PolicyError(f"{key.name}: a key may appear once")
        self._keys.add(key.public)
        return key
