from typing import Final, Literal, TypeAlias, final

from _typeshed import ReadableBuffer

BatchInfo: TypeAlias = tuple[int, int, int, int, int]

SIZE_OF_HEADER: Final[int]

class BatchError(ValueError):
    position: int
    reason: str
    def __init__(self, position: int, reason: str) -> None: ...

@final
class ScanResult:
    @property
    def batches(self) -> list[BatchInfo]: ...
    @property
    def position(self) -> int: ...
    @property
    def next_offset(self) -> int: ...
    @property
    def verdict(self) -> Literal["clean", "torn", "corrupt"]: ...
    @property
    def reason(self) -> str: ...

def scan(
    data: ReadableBuffer,
    expected_offset: int | None,
    *,
    position: int = 0,
    check_crc: bool = True,
) -> ScanResult: ...
