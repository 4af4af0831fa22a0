"""Kafka RecordBatch v2 from the outside: headers, checksums, where each batch of a file begins.

Looks into no record and decompresses nothing. Format and rules: docs/formats/kafka-record-batch.md.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.limits cimport INT_MAX, LLONG_MAX

from merkql._core.crc32c cimport crc32c_update
from merkql._core.varint cimport load_be16, load_be32, load_be64

cdef extern from *:
    """
    _Static_assert(61 == 57 + 4 && 49 == 61 - 12, "the record batch header is 61 bytes");
    """

cdef enum:
    ROWS_AT_ONCE = 256

SIZE_OF_HEADER = HEADER_SIZE

# First offset, position, size, record count, largest timestamp.
BatchInfo = tuple[int, int, int, int, int]


class BatchError(ValueError):
    """The bytes at `position` are not a batch that can be read; `reason` says in what way."""

    def __init__(self, position, reason):
        super().__init__(position, reason)
        self.position = position
        self.reason = reason

    def __str__(self):
        return f"at position {self.position}: {self.reason}"


@cython.final
@cython.no_gc
cdef class ScanResult:
    """The whole batches found, and why the walk ended: `verdict` is clean, torn or corrupt.

    `position` is the end of the last whole batch; `next_offset` the offset that follows it (the
    expected one, or 0, where there was no batch); `reason` is empty when the verdict is clean.
    """

    cdef readonly list batches
    cdef readonly Py_ssize_t position
    cdef readonly long long next_offset
    cdef readonly str verdict
    cdef readonly str reason

    def __repr__(self):
        return (
            f"ScanResult({len(self.batches)} batches, position={self.position}, "
            f"next_offset={self.next_offset}, verdict={self.verdict!r}, reason={self.reason!r})"
        )


cdef bint _is_zero(const unsigned char* at, size_t size) noexcept nogil:
    cdef size_t index = 0
    cdef unsigned char seen = 0
    cdef size_t stop
    while index < size:
        stop = index + 4096 if size - index > 4096 else size
        while index < stop:
            seen |= at[index]
            index += 1
        if seen:
            return False
    return True


cdef Verdict read_header(
    const unsigned char* at, size_t available, long long expected_offset, BatchHeader* header,
    const char** reason
) noexcept nogil:
    cdef size_t length
    if _is_zero(at, available if available < HEADER_SIZE else HEADER_SIZE):
        reason[0] = b"zeros where a batch should begin"
        return END if _is_zero(at, available) else CORRUPT
    reason[0] = b"the bytes end inside a batch header"
    if available < AT_LENGTH:
        return TORN
    header.first_offset = <long long>load_be64(at)
    if header.first_offset < 0 or (expected_offset >= 0 and header.first_offset != expected_offset):
        reason[0] = b"the batch does not begin with the offset that comes next"
        return CORRUPT
    if available < AT_LEADER_EPOCH:
        return TORN
    length = load_be32(at + AT_LENGTH)
    if length < LENGTH_MIN or length > INT_MAX:
        reason[0] = b"the batch length is impossible"
        return CORRUPT
    if available <= AT_MAGIC:
        return TORN
    if at[AT_MAGIC] != MAGIC:
        reason[0] = b"the magic byte is not 2"
        return CORRUPT
    if available < HEADER_SIZE:
        return TORN
    header.size = length + LENGTH_BEGIN
    if header.size > available:
        reason[0] = b"the bytes end inside a batch"
        return TORN
    return _read_fields(at, header, reason)


cdef Verdict _read_fields(
    const unsigned char* at, BatchHeader* header, const char** reason
) noexcept nogil:
    header.crc = load_be32(at + AT_CRC)
    header.attributes = load_be16(at + AT_ATTRIBUTES)
    header.base_timestamp_ms = <long long>load_be64(at + AT_BASE_TIMESTAMP)
    header.max_timestamp_ms = <long long>load_be64(at + AT_MAX_TIMESTAMP)
    header.count = <int>load_be32(at + AT_RECORD_COUNT)
    if header.count < 1 or <int>load_be32(at + AT_LAST_OFFSET_DELTA) != header.count - 1:
        reason[0] = b"the record count does not match the offsets"
        return CORRUPT
    if header.first_offset > LLONG_MAX - header.count:
        reason[0] = b"the offsets do not fit in 64 bits"
        return CORRUPT
    if (
        header.attributes & CODEC_MASK == CODEC_NONE
        and <size_t>header.count > (header.size - HEADER_SIZE) // RECORD_SIZE_MIN
    ):
        reason[0] = b"the record count is impossible for the size"
        return CORRUPT
    return WHOLE


cdef bint checksum_holds(const unsigned char* at, const BatchHeader* header) noexcept nogil:
    return crc32c_update(0, at + AT_ATTRIBUTES, header.size - AT_ATTRIBUTES) == header.crc


cdef struct Walk:
    const unsigned char* data
    size_t size
    size_t position             # of the next batch
    long long next_offset       # -1: not known yet
    bint check_crc
    Verdict verdict
    const char* reason


cdef Py_ssize_t _walk(Walk* walk, BatchHeader* rows, Py_ssize_t rows_max) noexcept nogil:
    """Fills rows with whole batches; fewer than rows_max when the walk is over."""
    cdef Py_ssize_t count = 0
    cdef const unsigned char* at
    while count < rows_max:
        at = walk.data + walk.position
        if walk.position == walk.size:
            walk.verdict = END
            return count
        walk.verdict = read_header(
            at, walk.size - walk.position, walk.next_offset, &rows[count], &walk.reason
        )
        if walk.verdict == WHOLE and walk.check_crc and not checksum_holds(at, &rows[count]):
            walk.verdict = CORRUPT
            walk.reason = b"the checksum does not match"
        if walk.verdict != WHOLE:
            return count
        walk.position += rows[count].size
        walk.next_offset = rows[count].first_offset + rows[count].count
        count += 1
    return count


cdef list _batches(Walk* walk):
    cdef BatchHeader rows[ROWS_AT_ONCE]
    cdef list batches = []
    cdef size_t position
    cdef Py_ssize_t count = ROWS_AT_ONCE
    cdef Py_ssize_t index
    while count == ROWS_AT_ONCE:
        position = walk.position
        with nogil:
            count = _walk(walk, rows, ROWS_AT_ONCE)
        for index in range(count):
            batches.append(
                (rows[index].first_offset, position, rows[index].size, rows[index].count,
                 rows[index].max_timestamp_ms)
            )
            position += rows[index].size
    return batches


def scan(data, object expected_offset, *, Py_ssize_t position=0, bint check_crc=True):
    """Walks the whole batches of `data` from `position`; the ScanResult says how they end.

    With `expected_offset` None the first batch's own is taken. Costs a checksum of the bytes, with
    the GIL released.
    """
    cdef Py_buffer view
    cdef Walk walk
    cdef ScanResult result = ScanResult.__new__(ScanResult)
    walk.next_offset = -1 if expected_offset is None else expected_offset
    if expected_offset is not None and walk.next_offset < 0:
        raise ValueError(f"expected_offset must not be negative: {expected_offset}")
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if not 0 <= position <= view.len:
            raise ValueError(f"position {position} is outside the {view.len} bytes")
        walk.data = <const unsigned char*>view.buf
        walk.size = view.len
        walk.position = position
        walk.check_crc = check_crc
        walk.reason = b""
        result.batches = _batches(&walk)
    finally:
        PyBuffer_Release(&view)
    result.position = walk.position
    result.next_offset = max(walk.next_offset, 0)
    if walk.verdict == END:
        result.verdict = "clean"
        result.reason = ""
    else:
        result.verdict = "torn" if walk.verdict == TORN else "corrupt"
        result.reason = walk.reason.decode()
    return result
