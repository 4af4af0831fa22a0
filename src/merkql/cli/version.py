"""``merkql version``, or ``--version``: of merkql, of its formats, of what it runs on."""

from __future__ import annotations

import json
import platform
from argparse import Namespace

import lz4
import xxhash

import merkql
from merkql import topic_config
from merkql._core import crc32c, frame, sha256
from merkql.assignment import STATE_VERSION
from merkql.cli.parsing import Parser, Subparsers, add_json, new_command
from merkql.storage import directory, tail_page


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql version``."""
    parser = new_command(
        subparsers,
        "version",
        arguments="[--json]",
        description="Say which version this is, which formats it reads and writes, and which "
        "back ends (SHA-NI, SSE4.2, Armv8 or portable C) hash and check.",
    )
    add_json(parser, "one JSON object")
    return parser


def run(arguments: Namespace) -> int:
    """Print it; the status is 0."""
    out, facts = arguments.terminal.out, versions()
    if arguments.json:
        out.print(json.dumps(facts))
        return 0
    out.print(f"merkql {facts['version']}")
    for name in ("formats", "backends", "libraries", "system"):
        out.print(f"{name}: {', '.join(f'{key} {value}' for key, value in facts[name].items())}")
    return 0


def versions() -> dict[str, dict[str, object]]:
    """What there is to say, by its kind."""
    formats: dict[str, object] = {
        "directory": directory.FORMAT,
        "topic": topic_config.FORMAT,
        "record-batch": 2,
        "wal-frame": frame.VERSION,
        "tail-page": tail_page.VERSION,
        "group-state": STATE_VERSION,
        "proof": "merkql-proof/v1",
    }
    return {
        "version": merkql.__version__,  # type: ignore[dict-item]
        "formats": formats,
        "backends": {"sha256": sha256.backend(), "crc32c": crc32c.backend()},
        "libraries": {"lz4": lz4.__version__, "xxhash": xxhash.VERSION},
        "system": {
            platform.python_implementation(): platform.python_version(),
            platform.system(): platform.machine(),
        },
    }
