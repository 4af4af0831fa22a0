from collections.abc import Callable

from merkql._core.frontier import EMPTY_ROOT as EMPTY_ROOT
from merkql._core.frontier import HASH_BYTES as HASH_BYTES
from merkql._core.frontier import STORED_LEVEL_STRIDE as STORED_LEVEL_STRIDE
from merkql._core.frontier import Frontier as Frontier

# Asked once a proof for runs of (level, first index, count) hashes, levels multiples of 4.
HashReader = Callable[[list[tuple[int, int, int]]], list[bytes]]

def stored_count(size: int, level: int) -> int: ...
def root_at(size: int, read: HashReader) -> bytes: ...
def peaks_at(size: int, read: HashReader) -> bytes: ...
def inclusion_path(
    index: int, size: int, read: HashReader, frontier: Frontier | None = None
) -> list[bytes]: ...
def prove(
    index: int, size: int, read: HashReader, frontier: Frontier | None = None
) -> tuple[bytes, list[bytes], bytes]: ...
def consistency_path(
    old: int, new: int, read: HashReader, frontier: Frontier | None = None
) -> list[bytes]: ...
