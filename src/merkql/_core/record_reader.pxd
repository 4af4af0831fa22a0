"""One record of an uncompressed or decompressed batch, inline: checked, nothing copied.

Every length is held against `end` before it is used; a RecordView points into the bytes read.
"""

cimport cython
from libc.string cimport memcmp

from merkql._core.batch_header cimport LOG_APPEND_TIME, RECORD_SIZE_MIN, BatchHeader
from merkql._core.leaf cimport HASH_SIZE, RecordView
from merkql._core.varint cimport read_varint, read_varlong

cdef extern from *:
    """
    /* The one header of an erased record, up to the digest: sizes and name. */
    static const char merkql_erased_header[] = "\032merkql.erased\100";
    enum { MERKQL_ERASED_HEADER_SIZE = sizeof(merkql_erased_header) - 1 };
    """
    const char* merkql_erased_header
    enum: MERKQL_ERASED_HEADER_SIZE

cdef enum:
    # Of a record's attributes, which Kafka has no use for. Not the highest bit: its Python clients
    # read them as a varint.
    ERASED = 0x40


@cython.overflowcheck(False)
cdef inline long long _wrapping_sum(long long base, long long delta) noexcept nogil:
    """Java's sum: a delta that did not fit 64 bits was wrapped round, and wraps back."""
    return <long long>(<unsigned long long>base + <unsigned long long>delta)


cdef inline const unsigned char* _pass_headers(
    const unsigned char* at, const unsigned char* end, RecordView* record
) noexcept nogil:
    """Checks the headers and notes how large their canonical list is."""
    cdef long long index
    cdef long long size = 0
    for index in range(2 * record.header_count):
        at = read_varint(at, end, &size)
        if at is NULL or size > end - at or size < -(index & 1):
            return NULL     # a name is never null, a value may be
        record.headers_size += 4
        if size > 0:
            at += size
            record.headers_size += size
    return at


cdef inline const unsigned char* _erased_digest(
    const RecordView* record, const unsigned char* end
) noexcept nogil:
    """The digest that an erased record leaves behind; NULL for a record that is not of that form.

    Without key and value, and with one header whose name says what it is.
    """
    if record.key_size != -1 or record.value_size != -1 or record.header_count != 1:
        return NULL
    if end - record.headers != MERKQL_ERASED_HEADER_SIZE + HASH_SIZE:
        return NULL
    if memcmp(record.headers, merkql_erased_header, MERKQL_ERASED_HEADER_SIZE):
        return NULL
    return record.headers + MERKQL_ERASED_HEADER_SIZE


cdef inline const unsigned char* read_record(
    const unsigned char* at, const unsigned char* end, const BatchHeader* header, long long index,
    RecordView* record
) noexcept nogil:
    """Returns the end of the record at `at`; NULL unless it is the batch's number `index`."""
    cdef long long size = 0
    cdef long long delta = 0
    cdef unsigned char attributes
    at = read_varint(at, end, &size)
    if at is NULL or size < RECORD_SIZE_MIN - 1 or size > end - at:
        return NULL
    end = at + size
    attributes = at[0]
    at = read_varlong(at + 1, end, &delta)
    if at is NULL:
        return NULL
    record.timestamp_ms = _wrapping_sum(header.base_timestamp_ms, delta)
    at = read_varint(at, end, &delta)
    if at is NULL or delta != index:
        return NULL
    record.offset = header.first_offset + index
    at = read_varint(at, end, &size)
    if at is NULL or size < -1 or size > end - at:
        return NULL
    record.key = at
    record.key_size = size
    if size > 0:
        at += size
    at = read_varint(at, end, &size)
    if at is NULL or size < -1 or size > end - at:
        return NULL
    record.value = at
    record.value_size = size
    if size > 0:
        at += size
    at = read_varint(at, end, &record.header_count)
    if at is NULL or record.header_count < 0 or record.header_count > (end - at) // 2:
        return NULL
    record.headers = at
    record.headers_size = 4
    record.erased_digest = NULL
    if record.header_count > 0:
        at = _pass_headers(at, end, record)
        if attributes & ERASED and at is not NULL:
            record.erased_digest = _erased_digest(record, at)
    if header.attributes & LOG_APPEND_TIME:
        record.timestamp_ms = header.max_timestamp_ms
    return end if at == end else NULL


cdef inline const unsigned char* pass_records(
    const unsigned char* at, const unsigned char* end, long long count
) noexcept nogil:
    """Passes `count` records by their lengths alone; NULL if they are not there."""
    cdef long long size = 0
    while count > 0:
        at = read_varint(at, end, &size)
        if at is NULL or size < RECORD_SIZE_MIN - 1 or size > end - at:
            return NULL
        at += size
        count -= 1
    return at
