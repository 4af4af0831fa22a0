"""Zig-zag varints for Python: the tests' and tools' view of the inline functions in varint.pxd.

Format: docs/formats/kafka-record-batch.md.
"""


def encode_varint(long long value) -> bytes:
    """Returns the varint of a signed 64-bit integer (1-10 bytes; at most 5 for a 32-bit one)."""
    cdef unsigned char buffer[VARLONG_SIZE_MAX]
    cdef unsigned char* end = write_varint(buffer, value)
    assert <size_t>(end - buffer) == varint_size(value)
    return (<const char*>buffer)[:end - buffer]


def decode_varint(bytes data not None, Py_ssize_t position=0) -> tuple:
    """Returns (value, end) of the 32-bit varint at `position`; ValueError where none is whole."""
    return _decode(data, position, False)


def decode_varlong(bytes data not None, Py_ssize_t position=0) -> tuple:
    """Returns (value, end) of the 64-bit varint at `position`; ValueError where none is whole."""
    return _decode(data, position, True)


cdef tuple _decode(bytes data, Py_ssize_t position, bint is_long):
    cdef const unsigned char* start = <const unsigned char*><const char*>data
    cdef const unsigned char* at
    cdef long long value = 0
    if position < 0 or position > len(data):
        raise ValueError(f"position {position} is outside the {len(data)} bytes")
    if is_long:
        at = read_varlong(start + position, start + len(data), &value)
    else:
        at = read_varint(start + position, start + len(data), &value)
    if at is NULL:
        raise ValueError(f"no whole varint at position {position}")
    return value, at - start
