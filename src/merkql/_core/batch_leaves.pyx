"""Record batches to the leaf hashes of the tree: recovery, rebuilding and verification.

Makes no objects, and needs the GIL only to decompress. Format: docs/formats/record.md.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.limits cimport INT_MAX
from libc.stdlib cimport free, realloc

from merkql._core.batch_decoder cimport open_records
from merkql._core.batch_header cimport (
    AT_MAGIC,
    CODEC_MASK,
    CODEC_NONE,
    CONTROL,
    CORRUPT,
    HEADER_SIZE,
    MAGIC,
    WHOLE,
    BatchHeader,
    Verdict,
    read_header,
)
from merkql._core.leaf cimport (
    BUNDLED_SIZE,
    HASH_SIZE,
    SALT_SIZE,
    LeafRun,
    RecordView,
    entry_and_leaf_hash,
    leaf_run_add,
    leaf_run_begin,
    leaf_run_end,
    leaf_run_flush,
)
from merkql._core.record_reader cimport pass_records, read_record

from merkql._core.batch_decoder import DECOMPRESSED_SIZE_MAX as _DECOMPRESSED_SIZE_MAX
from merkql._core.batch_header import BatchError


cdef enum Status:
    DONE                # no whole batch is left
    COMPRESSED          # the next batch has to be decompressed
    WRONG               # it is wrong: reason
    SALTS_END           # it has more records than there are salts
    OUT_OF_MEMORY


cdef struct Job:
    const unsigned char* data
    size_t size
    size_t position                 # of the next batch
    long long expected_offset       # of the next batch; -1: any
    long long first_offset          # to be hashed; -1: the first there is
    const unsigned char* salts      # NULL: none
    size_t salt_count
    unsigned char* hashes
    unsigned char* bundle           # entries behind their sizes; used if wants_bundle
    bint wants_bundle
    long long* erased               # offsets of erased records
    size_t erased_count
    size_t erased_capacity
    size_t count                    # of hashes, those still in the run included
    size_t capacity
    LeafRun run
    BatchHeader header              # of the batch at position
    const char* reason


cdef Status _hash_plain(Job* job) noexcept nogil:
    """Hashes batch after batch, up to one that is not plain, not right or not whole."""
    cdef const unsigned char* batch
    cdef Verdict verdict
    cdef Status status
    while job.position < job.size:
        batch = job.data + job.position
        verdict = read_header(
            batch, job.size - job.position, job.expected_offset, &job.header, &job.reason
        )
        if verdict == CORRUPT:
            return WRONG
        if verdict != WHOLE:
            return DONE
        if job.expected_offset < 0 and job.header.first_offset > job.first_offset >= 0:
            job.reason = b"the batch begins after the first offset that is asked for"
            return WRONG
        if job.header.attributes & CODEC_MASK != CODEC_NONE:
            return COMPRESSED
        status = _hash_batch(job, batch + HEADER_SIZE, batch + job.header.size)
        if status != DONE:
            return status
    return DONE


cdef Status _hash_batch(Job* job, const unsigned char* at, const unsigned char* end) noexcept nogil:
    """Hashes the records in [at, end), those of the batch at hand, and steps to the next."""
    cdef const BatchHeader* header = &job.header
    cdef const unsigned char* salt = NULL
    cdef RecordView view
    cdef long long index = 0
    if header.first_offset < job.first_offset:
        index = min(job.first_offset - header.first_offset, header.count)
    if _make_room(job, header.count - index):
        return OUT_OF_MEMORY
    at = pass_records(at, end, index)
    while at is not NULL and index < header.count:
        at = read_record(at, end, header, index, &view)
        if at is NULL:
            break
        if job.salts is not NULL:
            if job.count == job.salt_count:
                return SALTS_END
            salt = job.salts + job.count * SALT_SIZE
        if leaf_run_add(&job.run, &view, salt, False):
            return OUT_OF_MEMORY
        if view.erased_digest is not NULL and _note_erased(job, view.offset):
            return OUT_OF_MEMORY
        job.count += 1
        index += 1
    if at != end:
        job.reason = b"a record is malformed"
        return WRONG
    job.position += header.size
    job.expected_offset = header.first_offset + header.count
    return DONE


cdef int _make_room(Job* job, size_t more) noexcept nogil:
    """Makes room for `more` hashes behind those there are. Returns -1 out of memory."""
    cdef size_t written = 0
    cdef size_t needed = job.count + more
    cdef unsigned char* grown
    if needed > job.capacity:
        if job.hashes is not NULL:
            written = job.run.hashes - job.hashes
        needed = max(needed, 2 * job.capacity)
        grown = <unsigned char*>realloc(job.hashes, needed * HASH_SIZE)
        if grown is NULL:
            return -1
        job.hashes = grown
        job.run.hashes = grown + written
        if job.wants_bundle:
            written = 0 if job.bundle is NULL else job.run.bundle - job.bundle
            grown = <unsigned char*>realloc(job.bundle, needed * BUNDLED_SIZE)
            if grown is NULL:
                return -1
            job.bundle = grown
            job.run.bundle = grown + written
        job.capacity = needed
    return 0


cdef int _note_erased(Job* job, long long offset) noexcept nogil:
    """Returns -1 out of memory."""
    cdef size_t capacity
    cdef void* grown
    if job.erased_count == job.erased_capacity:
        capacity = 2 * job.erased_capacity + 16
        grown = realloc(job.erased, capacity * sizeof(long long))
        if grown is NULL:
            return -1
        job.erased = <long long*>grown
        job.erased_capacity = capacity
    job.erased[job.erased_count] = offset
    job.erased_count += 1
    return 0


cdef int _hash_all(Job* job, size_t decompressed_size_max) except -1:
    cdef const unsigned char* records
    cdef bytes opened
    cdef Status status = COMPRESSED
    while True:
        with nogil:
            status = _hash_plain(job)
        if status == COMPRESSED:
            opened = open_records(
                job.data + job.position, &job.header, job.position, decompressed_size_max
            )
            records = <const unsigned char*>PyBytes_AS_STRING(opened)
            status = _hash_batch(job, records, records + PyBytes_GET_SIZE(opened))
            if status == DONE:
                continue
        if status == WRONG:
            raise BatchError(job.position, job.reason.decode())
        if status == OUT_OF_MEMORY:
            raise MemoryError
        if status == SALTS_END or (job.salts is not NULL and job.count != job.salt_count):
            raise ValueError(f"{job.salt_count} salts are not one for each record")
        leaf_run_flush(&job.run)
        return 0


def leaf_hashes(
    data, *, object first_offset=None, bytes salts=None, list erased=None,
    Py_ssize_t decompressed_size_max=_DECOMPRESSED_SIZE_MAX,
) -> bytes:
    """Recomputes the leaf hashes of the records in whole batches.

    With `first_offset` those of the records before it are left out; `salts` is 16 bytes for each
    of the others. Checksums are not looked at: scan first. A batch that the data cut, and zeros,
    end the run quietly. The leaf of an erased record is that of the entry it left behind; its
    offset is appended to `erased` where a list is given.

    Raises BatchError for bytes that are not such batches, ValueError for another number of salts.
    """
    return _hash(data, first_offset, salts, decompressed_size_max, erased, False)[0]


def leaf_hashes_and_entries(
    data, *, object first_offset=None, bytes salts=None, list erased=None,
    Py_ssize_t decompressed_size_max=_DECOMPRESSED_SIZE_MAX,
) -> tuple:
    """As leaf_hashes, and with them the entries, each behind its size (a u16, big-endian).

    That is how entry bundles of tlog-tiles have them: 51 bytes a record.
    """
    return _hash(data, first_offset, salts, decompressed_size_max, erased, True)


cdef tuple _hash(
    data, object first_offset, bytes salts, Py_ssize_t decompressed_size_max, list erased,
    bint wants_bundle
):
    cdef Py_buffer view
    cdef Job job
    cdef size_t index
    job.hashes = job.bundle = NULL
    job.erased = NULL
    job.erased_count = job.erased_capacity = 0
    job.wants_bundle = wants_bundle
    job.salts = NULL
    job.position = job.count = job.capacity = job.salt_count = 0
    job.expected_offset = -1
    job.first_offset = -1 if first_offset is None else first_offset
    if salts is not None:
        if len(salts) % SALT_SIZE:
            raise ValueError(f"salts must have {SALT_SIZE} bytes a record, not {len(salts)} in all")
        job.salts = <const unsigned char*>PyBytes_AS_STRING(salts)
        job.salt_count = len(salts) // SALT_SIZE
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if leaf_run_begin(&job.run, NULL):
            raise MemoryError
        job.data = <const unsigned char*>view.buf
        job.size = view.len
        _hash_all(&job, max(decompressed_size_max, 0))
        if erased is not None:
            for index in range(job.erased_count):
                erased.append(job.erased[index])
        return (
            PyBytes_FromStringAndSize(<const char*>job.hashes, job.count * HASH_SIZE),
            PyBytes_FromStringAndSize(
                <const char*>job.bundle, job.count * BUNDLED_SIZE if wants_bundle else 0
            ),
        )
    finally:
        leaf_run_end(&job.run)
        free(job.hashes)
        free(job.bundle)
        free(job.erased)
        PyBuffer_Release(&view)


def entry_at(
    bytes data not None, long long first_offset, long long offset, bytes salt not None=b""
) -> tuple:
    """Returns entry and leaf hash of the record at `offset`, in the batch that `data` begins with.

    The bytes may end before the batch does. None unless it begins at `first_offset` and the record
    is there, readable. The checksum is not looked at: compare the leaf hash with the one in the
    tree, which says more. The entry of an erased record is what it left behind. Raises ValueError
    unless the salt has 0 or 16 bytes.
    """
    cdef const unsigned char* batch = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef const unsigned char* at = batch + HEADER_SIZE
    cdef const unsigned char* end = batch + PyBytes_GET_SIZE(data)
    cdef long long index = offset - first_offset
    cdef const char* reason
    cdef BatchHeader header
    cdef RecordView view
    cdef bytes opened
    if len(salt) != 0 and len(salt) != SALT_SIZE:
        raise ValueError(f"salt must have 0 or {SALT_SIZE} bytes, not {len(salt)}")
    # With its magic byte there, nothing but the header is looked at, however long the batch.
    if PyBytes_GET_SIZE(data) < HEADER_SIZE or batch[AT_MAGIC] != MAGIC:
        return None
    if read_header(batch, INT_MAX, first_offset, &header, &reason) != WHOLE:
        return None
    if header.attributes & CONTROL or not 0 <= index < header.count:
        return None
    if header.size < <size_t>PyBytes_GET_SIZE(data):
        end = batch + header.size
    if header.attributes & CODEC_MASK != CODEC_NONE:
        if header.size > <size_t>PyBytes_GET_SIZE(data):
            return None
        try:
            opened = open_records(batch, &header, 0, _DECOMPRESSED_SIZE_MAX)
        except BatchError:
            return None
        at = <const unsigned char*>PyBytes_AS_STRING(opened)
        end = at + PyBytes_GET_SIZE(opened)
    at = pass_records(at, end, index)
    if at is NULL or read_record(at, end, &header, index, &view) is NULL:
        return None
    return entry_and_leaf_hash(&view, salt)
