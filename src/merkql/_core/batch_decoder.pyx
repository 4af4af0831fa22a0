"""Kafka RecordBatch v2 bytes to Record objects, or to the leaf hashes of the tree.

Every length is checked against the bytes that are there before it is used. Format: docs/formats/kafka-record-batch.md.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_Append
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.limits cimport LLONG_MAX
from libc.stdlib cimport free, realloc

from merkql._core.batch_header cimport (
    CODEC_MASK,
    CODEC_NONE,
    CONTROL,
    CORRUPT,
    END,
    HEADER_SIZE,
    LOG_APPEND_TIME,
    RECORD_SIZE_MIN,
    TORN,
    WHOLE,
    BatchHeader,
    Verdict,
    checksum_holds,
    read_header,
)
from merkql._core.leaf cimport (
    HASH_SIZE,
    SALT_SIZE,
    LeafRun,
    RecordView,
    leaf_run_add,
    leaf_run_begin,
    leaf_run_end,
    leaf_run_flush,
)
from merkql._core.record cimport Record
from merkql._core.varint cimport read_varint, read_varlong

from merkql._core.batch_compression import DecompressionError
from merkql._core.batch_compression import decompress as _decompress
from merkql._core.batch_header import BatchError

cdef extern from "Python.h":
    enum: PyBUF_READ

cdef enum:
    GIL_RELEASE_SIZE = 32768

DECOMPRESSED_SIZE_MAX = 256 << 20


@cython.final
@cython.no_gc
cdef class DecodeResult:
    """The records, the offset to go on with, and the position of the batch that may hold it."""

    cdef readonly list records
    cdef readonly long long next_offset
    cdef readonly Py_ssize_t position

    def __repr__(self):
        return (
            f"DecodeResult({len(self.records)} records, next_offset={self.next_offset}, position={self.position})"
        )


cdef struct Run:
    const unsigned char* data
    size_t size
    size_t position                 # of the next batch
    long long expected_offset       # -1: any
    long long first_offset
    long long stop_offset
    Py_ssize_t wanted               # records that may still be returned
    size_t decompressed_max


# --- one record ---------------------------------------------------------------------------------------------


cdef inline const unsigned char* _read_record(
    const unsigned char* at, const unsigned char* end, const BatchHeader* header, long long index,
    RecordView* record
) noexcept nogil:
    """Returns the end of the record at `at`, NULL if it is not the batch's record number `index`."""
    cdef long long size = 0
    cdef long long delta = 0
    at = read_varint(at, end, &size)
    if at is NULL or size < RECORD_SIZE_MIN - 1 or size > end - at:
        return NULL
    end = at + size
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
    if record.header_count > 0:
        at = _pass_headers(at, end, record)
    if header.attributes & LOG_APPEND_TIME:
        record.timestamp_ms = header.max_timestamp_ms
    return end if at == end else NULL


@cython.overflowcheck(False)
cdef inline long long _wrapping_sum(long long base, long long delta) noexcept nogil:
    """Java's sum: a producer's delta that does not fit has wrapped round, and does so back."""
    return <long long>(<unsigned long long>base + <unsigned long long>delta)


cdef const unsigned char* _pass_headers(
    const unsigned char* at, const unsigned char* end, RecordView* record
) noexcept nogil:
    """Checks the headers and notes how large their canonical list is."""
    cdef long long index
    cdef long long size = 0
    record.headers = at
    record.headers_size = 4
    for index in range(2 * record.header_count):
        at = read_varint(at, end, &size)
        if at is NULL or size > end - at or size < -(index & 1):
            return NULL     # a name is never null, a value may be
        record.headers_size += 4
        if size > 0:
            at += size
            record.headers_size += size
    return at


cdef inline const unsigned char* _pass_records(
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


cdef tuple _headers(const RecordView* record):
    cdef const unsigned char* at = record.headers
    cdef const unsigned char* end = at + 2 * record.headers_size + 16   # open: they have been checked
    cdef long long size = 0
    cdef long long index
    cdef list pairs = []
    cdef object name
    cdef object value
    for index in range(record.header_count):
        at = read_varint(at, end, &size)
        name = PyUnicode_DecodeUTF8(<const char*>at, size, NULL)
        at = read_varint(at + size, end, &size)
        value = None
        if size >= 0:
            value = PyBytes_FromStringAndSize(<const char*>at, size)
            at += size
        pairs.append((name, value))
    return tuple(pairs)


cdef inline Record _make_record(const RecordView* view, str topic, int partition):
    cdef Record record = Record.__new__(Record)
    record.topic = topic
    record.partition = partition
    record.offset = view.offset
    record.timestamp_ms = view.timestamp_ms
    if view.key_size >= 0:
        record.key = PyBytes_FromStringAndSize(<const char*>view.key, view.key_size)
    if view.value_size >= 0:
        record.value = PyBytes_FromStringAndSize(<const char*>view.value, view.value_size)
    record.headers = () if view.header_count == 0 else _headers(view)
    return record


# --- batches ------------------------------------------------------------------------------------------------


cdef bytes _opened(const Run* run, const BatchHeader* header):
    """Returns the decompressed records of the compressed batch at run.position."""
    cdef const unsigned char* at = run.data + run.position + HEADER_SIZE
    cdef bytes opened
    try:
        opened = _decompress(
            header.attributes & CODEC_MASK,
            PyMemoryView_FromMemory(<char*>at, header.size - HEADER_SIZE, PyBUF_READ),
            run.decompressed_max,
        )
    except DecompressionError as error:
        raise BatchError(run.position, str(error)) from None
    if header.count > PyBytes_GET_SIZE(opened) // RECORD_SIZE_MIN:
        raise BatchError(run.position, "the record count is impossible for the size")
    return opened


cdef Verdict _check_run(const Run* run, size_t* stop, const char** reason) noexcept nogil:
    """Sets *stop to the end of the whole, wanted batches that begin at run.position; says what follows."""
    cdef BatchHeader header
    cdef Verdict verdict = END
    cdef const unsigned char* at
    cdef long long expected = run.expected_offset
    cdef long long found = 0
    stop[0] = run.position
    while stop[0] < run.size and found < run.wanted:
        at = run.data + stop[0]
        verdict = read_header(at, run.size - stop[0], expected, &header, reason)
        if verdict != WHOLE:
            return verdict
        if header.first_offset >= run.stop_offset:
            return END
        expected = header.first_offset + header.count
        if expected > run.first_offset:
            if not checksum_holds(at, &header):
                reason[0] = b"the checksum does not match"
                return CORRUPT
            if not header.attributes & CONTROL:
                found += min(expected, run.stop_offset) - max(header.first_offset, run.first_offset)
        stop[0] += header.size
    return END


cdef int _decode_batch(
    Run* run, const BatchHeader* header, list records, str topic, int partition, long long* next_offset
) except -1:
    """Appends the wanted records of one checked batch; returns 1 if it was read to its end."""
    cdef const unsigned char* at = run.data + run.position + HEADER_SIZE
    cdef const unsigned char* end = run.data + run.position + header.size
    cdef long long index = max(run.first_offset - header.first_offset, 0)
    cdef long long stop = min(header.count, run.stop_offset - header.first_offset)
    cdef Py_ssize_t before = len(records)
    cdef bytes opened = None
    cdef RecordView view
    if header.attributes & CODEC_MASK != CODEC_NONE:
        opened = _opened(run, header)
        at = <const unsigned char*>PyBytes_AS_STRING(opened)
        end = at + PyBytes_GET_SIZE(opened)
    stop = min(stop, index + run.wanted)
    try:
        at = _pass_records(at, end, index)
        while at is not NULL and index < stop:
            at = _read_record(at, end, header, index, &view)
            if at is NULL:
                break
            PyList_Append(records, _make_record(&view, topic, partition))
            index += 1
        if at is NULL or (index == header.count and at != end):
            raise BatchError(run.position, f"record {index} of {header.count} is malformed")
    except UnicodeDecodeError:
        del records[before:]
        raise BatchError(run.position, f"a header name of record {index} is not UTF-8") from None
    except BaseException:
        del records[before:]
        raise
    run.wanted -= len(records) - before
    next_offset[0] = header.first_offset + index
    return index == header.count


cdef int _decode_run(Run* run, size_t stop, DecodeResult result, str topic, int partition) except -1:
    cdef BatchHeader header
    cdef const char* reason
    cdef long long after
    while run.position < stop and run.wanted > 0:
        read_header(run.data + run.position, run.size - run.position, -1, &header, &reason)
        after = header.first_offset + header.count
        if header.attributes & CONTROL:
            after = min(after, run.stop_offset)
        elif after > run.first_offset:
            if not _decode_batch(run, &header, result.records, topic, partition, &after):
                result.next_offset = max(after, run.first_offset)
                return 0
        run.position += header.size
        run.expected_offset = header.first_offset + header.count
        result.next_offset = max(after, run.first_offset)
    return 0


cdef long long _offset_or_any(object offset) except? -2:
    cdef long long value
    if offset is None:
        return -1
    value = offset
    if value < 0:
        raise ValueError(f"expected_offset must not be negative: {value}")
    return value


def decode(
    data, str topic not None, int partition, *, long long first_offset, long long stop_offset,
    Py_ssize_t max_records, object expected_offset=None, list records=None,
    Py_ssize_t decompressed_size_max=DECOMPRESSED_SIZE_MAX,
):
    """Decodes whole batches: the records of first_offset <= offset < stop_offset, at most `max_records`.

    They are appended to `records` where a list is given. A batch that the data cut, and zeros, end the run
    quietly. Control batches are passed over. In the result `next_offset` is the offset to ask for next, and
    `position` the first batch not read to its end. Costs a checksum (the GIL released) and the objects.

    Raises BatchError for bytes that are not such batches; records of the batches before it stay in `records`.
    """
    cdef Py_buffer view
    cdef Run run
    cdef size_t stop = 0
    cdef const char* reason = b""
    cdef Verdict verdict
    cdef DecodeResult result = DecodeResult.__new__(DecodeResult)
    result.records = [] if records is None else records
    result.next_offset = first_offset
    run.expected_offset = _offset_or_any(expected_offset)
    run.first_offset = first_offset
    run.stop_offset = stop_offset
    run.wanted = max_records
    run.decompressed_max = max(decompressed_size_max, 0)
    run.position = 0
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        run.data = <const unsigned char*>view.buf
        run.size = view.len
        if run.size >= GIL_RELEASE_SIZE:
            with nogil:
                verdict = _check_run(&run, &stop, &reason)
        else:
            verdict = _check_run(&run, &stop, &reason)
        _decode_run(&run, stop, result, topic, partition)
        if verdict == CORRUPT and run.position == stop and run.wanted > 0:
            raise BatchError(stop, reason.decode())
    finally:
        PyBuffer_Release(&view)
    result.position = run.position
    return result


# --- leaf hashes --------------------------------------------------------------------------------------------


cdef struct Hashes:
    unsigned char* data
    size_t count
    size_t capacity


cdef int _make_room(Hashes* hashes, LeafRun* leaves, size_t more) noexcept nogil:
    """Makes room for `more` hashes behind those written and those the run still holds; -1: out of memory."""
    cdef size_t written = 0
    cdef size_t needed = hashes.count + more
    cdef unsigned char* grown
    if needed > hashes.capacity:
        if hashes.data is not NULL:
            written = leaves.hashes - hashes.data
        needed = max(needed, 2 * hashes.capacity)
        grown = <unsigned char*>realloc(hashes.data, needed * HASH_SIZE)
        if grown is NULL:
            return -1
        hashes.data = grown
        hashes.capacity = needed
        leaves.hashes = grown + written
    return 0


cdef int _hash_records(
    const BatchHeader* header, const unsigned char* at, const unsigned char* end, long long first,
    const unsigned char* salts, LeafRun* leaves
) noexcept nogil:
    """Hashes a batch's records from number `first` on. Returns 0, -1 out of memory, -2 malformed."""
    cdef RecordView view
    cdef const unsigned char* salt = NULL
    cdef long long index
    at = _pass_records(at, end, first)
    for index in range(first, header.count):
        if at is NULL:
            return -2
        at = _read_record(at, end, header, index, &view)
        if at is NULL:
            return -2
        if salts is not NULL:
            salt = salts + (index - first) * SALT_SIZE
        if leaf_run_add(leaves, &view, salt, False):
            return -1
    return 0 if at == end else -2


cdef int _hash_run(
    Run* run, Hashes* hashes, LeafRun* leaves, const unsigned char* salts, size_t salt_count
) except -1:
    cdef BatchHeader header
    cdef const char* reason = b""
    cdef Verdict verdict
    cdef const unsigned char* at
    cdef const unsigned char* end
    cdef bytes opened
    cdef long long first
    cdef size_t more
    cdef int failed
    while run.position < run.size:
        at = run.data + run.position
        verdict = read_header(at, run.size - run.position, run.expected_offset, &header, &reason)
        if verdict == END or verdict == TORN:
            break
        if verdict == CORRUPT:
            raise BatchError(run.position, reason.decode())
        if run.expected_offset < 0 and header.first_offset > run.first_offset >= 0:
            raise BatchError(run.position, f"the batch begins after offset {run.first_offset}")
        end = at + header.size
        at += HEADER_SIZE
        opened = None
        first = min(max(run.first_offset - header.first_offset, 0), header.count)
        more = header.count - first
        if more and header.attributes & CODEC_MASK != CODEC_NONE:
            opened = _opened(run, &header)
            at = <const unsigned char*>PyBytes_AS_STRING(opened)
            end = at + PyBytes_GET_SIZE(opened)
        if more:
            if salts is not NULL and hashes.count + more > salt_count:
                raise ValueError(f"there are {salt_count} salts, fewer than records")
            if _make_room(hashes, leaves, more):
                raise MemoryError
            with nogil:
                failed = _hash_records(
                    &header, at, end, first,
                    NULL if salts is NULL else salts + hashes.count * SALT_SIZE, leaves,
                )
            if failed == -1:
                raise MemoryError
            if failed:
                raise BatchError(run.position, "a record is malformed")
            hashes.count += more
        run.position += header.size
        run.expected_offset = header.first_offset + header.count
    return 0


def leaf_hashes(
    data, *, object first_offset=None, bytes salts=None, Py_ssize_t decompressed_size_max=DECOMPRESSED_SIZE_MAX
) -> bytes:
    """Recomputes the leaf hashes of the records in whole batches, from `first_offset` on where it is given.

    `salts` is 16 bytes a record hashed. Checksums are not looked at: scan first. A batch that the data cut, and
    zeros, end the run quietly. Releases the GIL. Raises BatchError for bytes that are not such batches.
    """
    cdef Py_buffer view
    cdef Run run
    cdef LeafRun leaves
    cdef Hashes hashes
    cdef const unsigned char* salt_bytes = NULL
    hashes.data = NULL
    hashes.count = hashes.capacity = 0
    run.expected_offset = -1
    run.first_offset = _offset_or_any(first_offset)
    run.stop_offset = LLONG_MAX
    run.wanted = 0
    run.decompressed_max = max(decompressed_size_max, 0)
    run.position = 0
    if salts is not None:
        if len(salts) % SALT_SIZE:
            raise ValueError(f"salts must have {SALT_SIZE} bytes a record, not {len(salts)} in all")
        salt_bytes = <const unsigned char*>PyBytes_AS_STRING(salts)
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if leaf_run_begin(&leaves, NULL):
            raise MemoryError
        run.data = <const unsigned char*>view.buf
        run.size = view.len
        _hash_run(&run, &hashes, &leaves, salt_bytes, 0 if salts is None else len(salts) // SALT_SIZE)
        if salts is not None and <size_t>len(salts) != hashes.count * SALT_SIZE:
            raise ValueError(f"there are {len(salts) // SALT_SIZE} salts for {hashes.count} records")
        leaf_run_flush(&leaves)
        return PyBytes_FromStringAndSize(<const char*>hashes.data, hashes.count * HASH_SIZE)
    finally:
        leaf_run_end(&leaves)
        free(hashes.data)
        PyBuffer_Release(&view)
