"""Kafka RecordBatch v2 bytes to Record objects, many batches in one call.

Checksums first, without the GIL; then the objects. Format: docs/formats/kafka-record-batch.md.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.unicode cimport PyUnicode_DecodeUTF8

from merkql._core.batch_header cimport (
    CODEC_MASK,
    CODEC_NONE,
    CONTROL,
    CORRUPT,
    END,
    HEADER_SIZE,
    RECORD_SIZE_MIN,
    WHOLE,
    BatchHeader,
    Verdict,
    checksum_holds,
    read_header,
)
from merkql._core.leaf cimport RecordView
from merkql._core.record cimport Record
from merkql._core.record_reader cimport pass_records, read_record
from merkql._core.varint cimport read_varint

from merkql._core.batch_compression import DecompressionError
from merkql._core.batch_compression import decompress as _decompress
from merkql._core.batch_header import BatchError

cdef extern from "Python.h":
    enum: PyBUF_READ
    const Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    GIL_RELEASE_SIZE = 32768

DECOMPRESSED_SIZE_MAX = 256 << 20


@cython.final
@cython.no_gc
cdef class DecodeResult:
    """The records, the offset to go on with, and the position of the batch that may hold it.

    Also how many bytes the compressed batches came to when they were opened.
    """

    cdef readonly list records
    cdef readonly long long next_offset
    cdef readonly Py_ssize_t position
    cdef readonly Py_ssize_t opened_size

    def __repr__(self):
        return (
            f"DecodeResult({len(self.records)} records, next_offset={self.next_offset}, "
            f"position={self.position})"
        )


cdef struct Run:
    const unsigned char* data
    size_t size
    size_t position                 # of the next batch
    long long expected_offset       # -1: any
    long long first_offset
    long long stop_offset
    Py_ssize_t wanted               # records that may still be returned
    size_t decompressed_max         # of one batch
    Py_ssize_t opened_size          # of all compressed batches so far, once decompressed
    Py_ssize_t opened_max           # no further batch is decoded from there on


cdef tuple _headers(const RecordView* record):
    cdef const unsigned char* at = record.headers
    # An open end: read_record has checked them.
    cdef const unsigned char* end = at + 2 * record.headers_size + 16
    cdef long long size = 0
    cdef long long _index
    cdef list pairs = []
    cdef object name
    cdef object value
    for _index in range(record.header_count):
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
    record.erased = view.erased_digest is not NULL
    if view.header_count == 0 or record.erased:
        record.headers = ()
    else:
        record.headers = _headers(view)
    return record


cdef bytes open_records(
    const unsigned char* batch, const BatchHeader* header, size_t position, size_t limit
):
    cdef bytes opened
    try:
        opened = _decompress(
            header.attributes & CODEC_MASK,
            PyMemoryView_FromMemory(
                <char*>batch + HEADER_SIZE, header.size - HEADER_SIZE, PyBUF_READ
            ),
            limit,
        )
    except DecompressionError as error:
        raise BatchError(position, str(error)) from None
    if header.count > PyBytes_GET_SIZE(opened) // RECORD_SIZE_MIN:
        raise BatchError(position, "the record count is impossible for the size")
    return opened


cdef Verdict _check_run(const Run* run, size_t* stop, const char** reason) noexcept nogil:
    """Sets *stop to the end of the whole, wanted batches; says what follows them."""
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
    Run* run, const BatchHeader* header, list records, str topic, int partition,
    long long* next_offset
) except -1:
    """Appends the wanted records of one checked batch; returns 1 if it was read to its end."""
    cdef const unsigned char* at = run.data + run.position + HEADER_SIZE
    cdef const unsigned char* end = run.data + run.position + header.size
    cdef long long index = max(run.first_offset - header.first_offset, 0)
    cdef long long stop = min(header.count, run.stop_offset - header.first_offset)
    cdef Py_ssize_t before = len(records)
    cdef bytes opened = None
    cdef RecordView view
    view.headers = NULL  # read_record sets both, which compilers do not see
    view.headers_size = 0
    if header.attributes & CODEC_MASK != CODEC_NONE:
        opened = open_records(
            run.data + run.position, header, run.position, run.decompressed_max
        )
        at = <const unsigned char*>PyBytes_AS_STRING(opened)
        end = at + PyBytes_GET_SIZE(opened)
        run.opened_size += PyBytes_GET_SIZE(opened)
    stop = min(stop, index + run.wanted)
    try:
        at = pass_records(at, end, index)
        while at is not NULL and index < stop:
            at = read_record(at, end, header, index, &view)
            if at is NULL:
                break
            records.append(_make_record(&view, topic, partition))
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


cdef int _decode_run(
    Run* run, size_t stop, DecodeResult result, str topic, int partition
) except -1:
    cdef BatchHeader header
    cdef const char* reason
    cdef long long after
    while run.position < stop and run.wanted > 0 and run.opened_size < run.opened_max:
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
    Py_ssize_t opened_size_max=PY_SSIZE_T_MAX,
):
    """Decodes whole batches: at most `max_records` of the offsets in [first_offset, stop_offset).

    They are appended to `records` where a list is given. A batch that the data cut, and zeros, end
    the run quietly. Control batches are passed over. In the result `next_offset` is the offset to
    ask for next, and `position` the first batch not read to its end. One batch may come to
    `decompressed_size_max` bytes; the run ends with the one in which those that were compressed
    have come to `opened_size_max`. Costs a checksum, with the GIL released, and the objects.

    Raises BatchError for bytes that are not such batches; the records of the batches before those
    stay in `records`.
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
    run.opened_size = 0
    run.opened_max = max(opened_size_max, 1)
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
    result.opened_size = run.opened_size
    return result


def record_at(
    bytes data not None, long long first_offset, long long offset, str topic not None,
    int partition,
):
    """Returns the record at `offset` out of the batch that is `data`, checksum and all.

    None unless the bytes are one whole, sound batch that begins at `first_offset` and has it:
    whoever wants to know what is wrong asks `decode`. May raise BatchError likewise.
    """
    cdef BatchHeader header
    cdef const char* reason
    cdef Run run
    cdef long long _next = 0
    cdef list records = []
    run.data = <const unsigned char*>PyBytes_AS_STRING(data)
    run.size = PyBytes_GET_SIZE(data)
    if read_header(run.data, run.size, first_offset, &header, &reason) != WHOLE:
        return None
    if header.size != run.size or header.attributes & CONTROL:
        return None
    if not 0 <= offset - first_offset < header.count or not checksum_holds(run.data, &header):
        return None
    run.position = 0
    run.expected_offset = first_offset
    run.first_offset = offset
    run.stop_offset = offset + 1
    run.wanted = 1
    run.decompressed_max = DECOMPRESSED_SIZE_MAX
    run.opened_size = 0
    run.opened_max = PY_SSIZE_T_MAX
    _decode_batch(&run, &header, records, topic, partition, &_next)
    return records[0]
