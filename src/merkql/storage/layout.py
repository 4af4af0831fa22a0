"""The name of every file and directory of a data directory, built and parsed here alone.

Handles names only and opens nothing. Format: docs/formats/data-directory.md.
"""

from __future__ import annotations

import re

NAME_LENGTH_MAX = 249  # Kafka's limit for a topic name
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,249}")
_FILE_NAME_LENGTH_MAX = 240  # file systems allow 255; room is left for suffixes
_ENCODED = re.compile(r"(?!\.)[A-Za-z0-9._%-]{1,240}")
_TOPIC_ID = re.compile(r"[0-9a-f]{32}")
_SEGMENT = re.compile(r"(\d{20})\.log")
_EPOCH = re.compile(r"[1-9][0-9]{0,17}")
_WAL = re.compile(r"(\d{8})\.wal")

DELETED_PREFIX = ".deleted-"
NEW_PREFIX = ".new-"
KEPT_SUFFIX = ".kept"  # WAL files set aside because recovery could not apply all of them
TEMPORARY_SUFFIX = ".tmp"
TREE = "tree"  # in a partition's directory: stored hashes and salts
ERASURES_TOPIC = "__erasures"  # internal: the audit log of erasures


def check_name(name: object, what: str) -> str:
    """``name`` when it may name a topic or a group; ``TypeError`` or ``ValueError`` otherwise."""
    if not isinstance(name, str):
        raise TypeError(f"a {what} name is a str, not {type(name).__name__}")
    if name in ("", ".", ".."):
        raise ValueError(f"{name!r} cannot name a {what}")
    if len(name) > NAME_LENGTH_MAX:
        raise ValueError(
            f"a {what} name has at most {NAME_LENGTH_MAX} characters, this one has {len(name)}"
        )
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a {what}: use letters, digits and the characters . _ : -"
        )
    return name


def file_name(name: str) -> str:
    """The directory entry for a checked topic or group name.

    ``:`` is written ``%3A`` (some file systems read it as a separator) and a leading dot ``%2E``
    (names of our own begin with one). A name that grows too long keeps its beginning and ends in
    ``%`` and a digest; the whole name is inside the directory.
    """
    encoded = name.replace(":", "%3A")
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    if len(encoded) > _FILE_NAME_LENGTH_MAX:
        import hashlib  # slow to import (OpenSSL) and needed only here

        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        encoded = f"{encoded[: _FILE_NAME_LENGTH_MAX - 33]}%{digest}"
    return encoded


def is_encoded_name(entry: str) -> bool:
    """Whether ``file_name`` may have made this directory entry."""
    return _ENCODED.fullmatch(entry) is not None


def directory_mark(root: str) -> str:
    return f"{root}/merkql.json"


def writer_lock(root: str) -> str:
    return f"{root}/lock"


def writer_queue(root: str) -> str:
    return f"{root}/lock.queue"


def writer_sharers(root: str) -> str:
    return f"{root}/lock.sharers"


def writer_alone(root: str) -> str:
    return f"{root}/lock.alone"


def shared_state(root: str) -> str:
    return f"{root}/state"


def clean_mark(root: str) -> str:
    return f"{root}/clean"


def erasing(root: str) -> str:
    return f"{root}/erasing"


def wal_directory(root: str) -> str:
    return f"{root}/wal"


def wal_file(directory: str, number: int) -> str:
    return f"{directory}/{number:08d}.wal"


def parse_wal_file(name: str) -> int | None:
    match = _WAL.fullmatch(name)
    return int(match[1]) if match else None


def topics_directory(root: str) -> str:
    return f"{root}/topics"


def topic_directory(root: str, topic: str) -> str:
    return f"{root}/topics/{file_name(topic)}"


def new_topic_directory(root: str, topic_id: bytes) -> str:
    return f"{root}/topics/{NEW_PREFIX}{topic_id.hex()}"


def deleted_topic_directory(root: str, topic_id: bytes) -> str:
    return f"{root}/topics/{DELETED_PREFIX}{topic_id.hex()}"


def parse_topic_id(entry: str, prefix: str) -> bytes | None:
    """The topic id behind the prefix of a directory entry, or None for another entry."""
    stated = entry.removeprefix(prefix)
    is_ours = entry.startswith(prefix) and _TOPIC_ID.fullmatch(stated) is not None
    return bytes.fromhex(stated) if is_ours else None


def topic_config(topic_directory: str) -> str:
    return f"{topic_directory}/topic.json"


def partition_directory(topic_directory: str, partition: int) -> str:
    return f"{topic_directory}/{partition}"


def segment(partition_directory: str, first_offset: int) -> str:
    return f"{partition_directory}/{first_offset:020d}.log"


def segment_index(partition_directory: str, first_offset: int) -> str:
    return f"{partition_directory}/{first_offset:020d}.index"


def parse_segment(name: str) -> int | None:
    """The first offset a segment's file name states, or None for another file."""
    match = _SEGMENT.fullmatch(name)
    return int(match[1]) if match else None


def tree_directory(partition_directory: str) -> str:
    return f"{partition_directory}/{TREE}"


def tree_level(tree_directory: str, level: int) -> str:
    return f"{tree_directory}/h{level:02d}"


def tree_salts(tree_directory: str) -> str:
    return f"{tree_directory}/salts"


def tail_page(partition_directory: str) -> str:
    return f"{partition_directory}/tail"


def start_file(partition_directory: str) -> str:
    return f"{partition_directory}/start"


def checkpoints(partition_directory: str) -> str:
    return f"{partition_directory}/checkpoints"


def groups_directory(root: str) -> str:
    return f"{root}/groups"


def group_directory(root: str, group: str) -> str:
    return f"{root}/groups/{file_name(group)}"


def group_offsets(group_directory: str) -> str:
    return f"{group_directory}/offsets"


def group_lock(group_directory: str) -> str:
    return f"{group_directory}/lock"


def group_assignment(group_directory: str) -> str:
    return f"{group_directory}/assignment"


def group_epochs(group_directory: str) -> str:
    return f"{group_directory}/epochs"


def group_epoch(group_directory: str, epoch: int) -> str:
    return f"{group_directory}/epochs/{epoch}"


def parse_group_epoch(name: str) -> int | None:
    return int(name) if _EPOCH.fullmatch(name) else None


def group_members(group_directory: str) -> str:
    return f"{group_directory}/members"


def group_member(group_directory: str, member: str) -> str:
    return f"{group_directory}/members/{member}"


def temporary(path: str) -> str:
    """Where the next content of ``path`` is prepared before it replaces it."""
    return path + TEMPORARY_SUFFIX
