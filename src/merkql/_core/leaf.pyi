from collections.abc import Iterable
from typing import Any, Final

PREFIX: Final[bytes]
ENTRY_KIND: Final[int]

_Headers = tuple[tuple[str, bytes | None], ...]

def record_digest(
    key: bytes | None, value: bytes | None, headers: _Headers, salt: bytes = b""
) -> bytes: ...
def entry(offset: int, timestamp_ms: int, digest: bytes) -> bytes: ...
def record_leaf_hash(
    offset: int,
    timestamp_ms: int,
    key: bytes | None,
    value: bytes | None,
    headers: _Headers,
    salt: bytes = b"",
) -> bytes: ...
def record_leaf_hashes(records: Iterable[Any], salts: bytes = b"") -> bytes: ...
