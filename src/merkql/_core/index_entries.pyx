"""The entries of new batches in an offset index, encoded all at once.

Format: docs/formats/offset-index.md.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from merkql._core.crc32c cimport crc32c_update

cdef enum:
    ENTRY_SIZE = 24     # u64 first offset, u32 position, u32 check, i64 largest timestamp so far
    CHECKED_SIZE = 20   # the same without the check, which is of these bytes


cdef inline unsigned char* _store(
    unsigned char* at, unsigned long long value, int size
) noexcept nogil:
    """Writes the low `size` bytes of a number, the lowest first."""
    cdef int index
    for index in range(size):
        at[index] = (value >> 8 * index) & 0xFF
    return at + size


def encode_entries(
    list batches not None, unsigned long long base_position, long long largest_ms
) -> tuple[bytes, int]:
    """Returns the entries of consecutive batches and the largest timestamp up to their end.

    The positions in `batches` are relative to `base_position`; `largest_ms` is the largest
    timestamp before them.
    """
    cdef bytes encoded = PyBytes_FromStringAndSize(NULL, len(batches) * ENTRY_SIZE)
    cdef unsigned char* at = <unsigned char*>PyBytes_AS_STRING(encoded)
    cdef unsigned char checked[CHECKED_SIZE]
    cdef unsigned long long first_offset
    cdef unsigned int position
    cdef long long timestamp_ms
    for first_offset, relative, _size, _count, timestamp_ms in batches:
        position = base_position + relative
        largest_ms = max(largest_ms, timestamp_ms)
        _store(checked, first_offset, 8)
        _store(checked + 8, position, 4)
        _store(checked + 12, <unsigned long long>largest_ms, 8)
        at = _store(at, first_offset, 8)
        at = _store(at, position, 4)
        at = _store(at, crc32c_update(0, checked, CHECKED_SIZE), 4)
        at = _store(at, <unsigned long long>largest_ms, 8)
    return encoded, largest_ms
