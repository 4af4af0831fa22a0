from typing import Final, final

from _typeshed import ReadableBuffer

from merkql._core.record import Record

DECOMPRESSED_SIZE_MAX: Final[int]

@final
class DecodeResult:
    @property
    def records(self) -> list[Record]: ...
    @property
    def next_offset(self) -> int: ...
    @property
    def position(self) -> int: ...
    @property
    def opened_size(self) -> int: ...

def decode(
    data: ReadableBuffer,
    topic: str,
    partition: int,
    *,
    first_offset: int,
    stop_offset: int,
    max_records: int,
    expected_offset: int | None = None,
    records: list[Record] | None = None,
    decompressed_size_max: int = ...,
    opened_size_max: int = ...,
) -> DecodeResult: ...
def record_at(
    data: bytes, first_offset: int, offset: int, topic: str, partition: int
) -> Record | None: ...
