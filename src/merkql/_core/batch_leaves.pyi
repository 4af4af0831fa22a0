from _typeshed import ReadableBuffer

def leaf_hashes(
    data: ReadableBuffer,
    *,
    first_offset: int | None = None,
    salts: bytes | None = None,
    erased: list[int] | None = None,
    decompressed_size_max: int = ...,
) -> bytes: ...
def leaf_hashes_and_entries(
    data: ReadableBuffer,
    *,
    first_offset: int | None = None,
    salts: bytes | None = None,
    erased: list[int] | None = None,
    decompressed_size_max: int = ...,
) -> tuple[bytes, bytes]: ...
def entry_at(
    data: bytes, first_offset: int, offset: int, salt: bytes = b""
) -> tuple[bytes, bytes] | None: ...
