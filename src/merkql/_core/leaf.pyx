"""Record digests, log entries and leaf hashes: what the tree commits to.

Format: docs/formats/record.md.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from merkql._core.sha256 cimport leaf_hash_many, sha256_many
from merkql._core.varint cimport load_be32, read_varint, store_be32, store_be64

cdef extern from *:
    """
    static const char merkql_digest_prefix[] = "merkql-record/v1\\n";
    enum { MERKQL_DIGEST_PREFIX_SIZE = sizeof(merkql_digest_prefix) - 1 };
    """
    const char* merkql_digest_prefix
    enum: MERKQL_DIGEST_PREFIX_SIZE

PREFIX = b"merkql-record/v1\n"
ENTRY_KIND = 1
cdef bytes NO_HEADERS = bytes(4)


cdef int leaf_run_begin(LeafRun* run, unsigned char* hashes) noexcept nogil:
    run.capacity = LEAF_RUN_BYTES
    run.used = 0
    run.count = 0
    run.hashes = hashes
    run.bundle = NULL
    run.scratch = <unsigned char*>malloc(LEAF_RUN_BYTES)
    return 0 if run.scratch is not NULL else -1


cdef void leaf_run_end(LeafRun* run) noexcept nogil:
    free(run.scratch)
    run.scratch = NULL


cdef int leaf_run_add(
    LeafRun* run, const RecordView* record, const unsigned char* salt, bint is_canonical
) noexcept nogil:
    cdef size_t size = _message_size(record, salt) if record.erased_digest is NULL else 0
    cdef unsigned char* entry
    cdef unsigned char* scratch
    if run.count == LEAF_RUN_RECORDS or run.used + size > run.capacity:
        leaf_run_flush(run)
        if size > run.capacity:
            scratch = <unsigned char*>malloc(size)
            if scratch is NULL:
                return -1
            free(run.scratch)
            run.scratch = scratch
            run.capacity = size
    run.starts[run.count] = run.used
    run.sizes[run.count] = size
    entry = run.entries + run.count * ENTRY_SIZE
    run.given[run.count] = record.erased_digest is not NULL
    if record.erased_digest is NULL:
        _write_message(run.scratch + run.used, record, salt, is_canonical)
    else:
        memcpy(entry + ENTRY_SIZE - HASH_SIZE, record.erased_digest, HASH_SIZE)
    _write_place(entry, record.offset, record.timestamp_ms)
    run.used += size
    run.count += 1
    return 0


cdef inline void _write_place(
    unsigned char* entry, unsigned long long offset, long long timestamp_ms
) noexcept nogil:
    """Writes an entry but for the digest, its last 32 bytes."""
    entry[0] = 1
    store_be64(store_be64(entry + 1, offset), <unsigned long long>timestamp_ms)


cdef void leaf_run_flush(LeafRun* run) noexcept nogil:
    cdef const unsigned char* messages[LEAF_RUN_RECORDS]
    cdef unsigned char digests[LEAF_RUN_RECORDS * HASH_SIZE]
    cdef size_t index
    for index in range(run.count):
        messages[index] = run.scratch + run.starts[index]
    sha256_many(messages, run.sizes, run.count, digests)
    for index in range(run.count):
        if not run.given[index]:
            memcpy(
                run.entries + (index + 1) * ENTRY_SIZE - HASH_SIZE, digests + index * HASH_SIZE,
                HASH_SIZE,
            )
    leaf_hash_many(run.entries, run.count, run.hashes)
    if run.bundle is not NULL:
        for index in range(run.count):
            run.bundle[0] = 0
            run.bundle[1] = ENTRY_SIZE
            memcpy(run.bundle + 2, run.entries + index * ENTRY_SIZE, ENTRY_SIZE)
            run.bundle += BUNDLED_SIZE
    run.hashes += run.count * HASH_SIZE
    run.count = 0
    run.used = 0


cdef inline size_t _message_size(
    const RecordView* record, const unsigned char* salt
) noexcept nogil:
    cdef size_t size = MERKQL_DIGEST_PREFIX_SIZE + 9
    if salt is not NULL:
        size += SALT_SIZE
    if record.key_size > 0:
        size += <size_t>record.key_size
    if record.value_size > 0:
        size += <size_t>record.value_size
    return size + <size_t>(record.headers_size if record.header_count > 0 else 4)


cdef inline unsigned char* _write_sized(
    unsigned char* at, const unsigned char* data, Py_ssize_t size
) noexcept nogil:
    at = store_be32(at, <unsigned int>size)
    if size > 0:
        memcpy(at, data, size)
        at += size
    return at


cdef inline void _write_message(
    unsigned char* at, const RecordView* record, const unsigned char* salt, bint is_canonical
) noexcept nogil:
    memcpy(at, merkql_digest_prefix, MERKQL_DIGEST_PREFIX_SIZE)
    at += MERKQL_DIGEST_PREFIX_SIZE
    at[0] = 0 if salt is NULL else SALT_SIZE
    at += 1
    if salt is not NULL:
        memcpy(at, salt, SALT_SIZE)
        at += SALT_SIZE
    at = _write_sized(at, record.key, record.key_size)
    at = _write_sized(at, record.value, record.value_size)
    if record.header_count == 0:
        store_be32(at, 0)
    elif is_canonical:
        memcpy(at, record.headers, record.headers_size)
    else:
        _write_canonical_list(at, record)


cdef void _write_canonical_list(unsigned char* at, const RecordView* record) noexcept nogil:
    """Rewrites headers of Kafka's form, which a reader has already checked, hence the open end."""
    cdef const unsigned char* wire = record.headers
    cdef const unsigned char* end = wire + 2 * record.headers_size + 16
    cdef long long size = 0
    cdef long long _index
    at = store_be32(at, <unsigned int>record.header_count)
    for _index in range(2 * record.header_count):
        wire = read_varint(wire, end, &size)
        at = _write_sized(at, wire, <Py_ssize_t>size)
        if size > 0:
            wire += size


cdef bytes canonical_headers(tuple headers):
    if not headers:
        return NO_HEADERS
    cdef list parts = [len(headers).to_bytes(4, "big")]
    for name, value in headers:
        encoded = (<str>name).encode()
        parts.append(len(encoded).to_bytes(4, "big"))
        parts.append(encoded)
        parts.append((-1 if value is None else len(value)).to_bytes(4, "big", signed=True))
        if value is not None:
            parts.append(value)
    return b"".join(parts)


cdef void _view(RecordView* view, bytes key, bytes value, bytes headers):
    view.key = NULL
    view.key_size = -1
    if key is not None:
        view.key = <const unsigned char*>PyBytes_AS_STRING(key)
        view.key_size = PyBytes_GET_SIZE(key)
    view.value = NULL
    view.value_size = -1
    if value is not None:
        view.value = <const unsigned char*>PyBytes_AS_STRING(value)
        view.value_size = PyBytes_GET_SIZE(value)
    view.headers = <const unsigned char*>PyBytes_AS_STRING(headers)
    view.headers_size = PyBytes_GET_SIZE(headers)
    view.header_count = load_be32(view.headers)
    view.offset = 0
    view.timestamp_ms = 0
    view.erased_digest = NULL


def record_digest(bytes key, bytes value, tuple headers not None, bytes salt not None=b"") -> bytes:
    """Returns the digest of one record's content; ValueError unless the salt has 0 or 16 bytes."""
    cdef RecordView view
    cdef const unsigned char* salt_bytes = NULL
    cdef const unsigned char* message
    cdef unsigned char digest[HASH_SIZE]
    cdef size_t size
    cdef bytes listed = canonical_headers(headers)
    cdef bytes written
    if len(salt) == SALT_SIZE:
        salt_bytes = <const unsigned char*>PyBytes_AS_STRING(salt)
    elif len(salt) != 0:
        raise ValueError(f"salt must have 0 or {SALT_SIZE} bytes, not {len(salt)}")
    _view(&view, key, value, listed)
    size = _message_size(&view, salt_bytes)
    written = PyBytes_FromStringAndSize(NULL, size)
    message = <const unsigned char*>PyBytes_AS_STRING(written)
    _write_message(<unsigned char*>message, &view, salt_bytes, True)
    sha256_many(&message, &size, 1, digest)
    return (<const char*>digest)[:HASH_SIZE]


cdef tuple entry_and_leaf_hash(const RecordView* record, bytes salt):
    cdef const unsigned char* salt_bytes = NULL
    cdef const unsigned char* message
    cdef unsigned char written[ENTRY_SIZE]
    cdef unsigned char leaf[HASH_SIZE]
    cdef size_t size
    cdef bytes scratch
    _write_place(written, record.offset, record.timestamp_ms)
    if record.erased_digest is not NULL:
        memcpy(written + ENTRY_SIZE - HASH_SIZE, record.erased_digest, HASH_SIZE)
    else:
        if PyBytes_GET_SIZE(salt):
            salt_bytes = <const unsigned char*>PyBytes_AS_STRING(salt)
        size = _message_size(record, salt_bytes)
        scratch = PyBytes_FromStringAndSize(NULL, size)
        message = <const unsigned char*>PyBytes_AS_STRING(scratch)
        _write_message(<unsigned char*>message, record, salt_bytes, False)
        sha256_many(&message, &size, 1, written + ENTRY_SIZE - HASH_SIZE)
    leaf_hash_many(written, 1, leaf)
    return (<const char*>written)[:ENTRY_SIZE], (<const char*>leaf)[:HASH_SIZE]


def entry(unsigned long long offset, long long timestamp_ms, bytes digest not None) -> bytes:
    """Returns the 49-byte log entry; ValueError unless the digest has 32 bytes."""
    cdef unsigned char written[ENTRY_SIZE]
    if len(digest) != HASH_SIZE:
        raise ValueError(f"digest must have {HASH_SIZE} bytes, not {len(digest)}")
    _write_place(written, offset, timestamp_ms)
    memcpy(written + 17, PyBytes_AS_STRING(digest), HASH_SIZE)
    return (<const char*>written)[:ENTRY_SIZE]


def record_leaf_hash(
    unsigned long long offset, long long timestamp_ms, bytes key, bytes value,
    tuple headers not None, bytes salt not None=b"",
) -> bytes:
    """Returns the leaf hash of one record at one offset."""
    cdef bytes encoded = entry(offset, timestamp_ms, record_digest(key, value, headers, salt))
    cdef unsigned char leaf[HASH_SIZE]
    leaf_hash_many(<const unsigned char*>PyBytes_AS_STRING(encoded), 1, leaf)
    return (<const char*>leaf)[:HASH_SIZE]


def record_leaf_hashes(records, bytes salts not None=b"") -> bytes:
    """The leaf hashes of records, one after the other.

    `salts`: 16 bytes for each of them, or nothing. ValueError for another number.
    """
    cdef list listed = list(records)
    cdef Py_ssize_t count = len(listed), index
    cdef bytes hashes = PyBytes_FromStringAndSize(NULL, count * HASH_SIZE)
    cdef LeafRun run
    cdef RecordView view
    cdef const unsigned char* salt = NULL
    cdef int failed = 0
    if PyBytes_GET_SIZE(salts) and PyBytes_GET_SIZE(salts) != count * SALT_SIZE:
        raise ValueError(f"{len(salts)} bytes are not {count} salts of {SALT_SIZE}")
    if leaf_run_begin(&run, <unsigned char*>PyBytes_AS_STRING(hashes)):
        raise MemoryError
    try:
        for index in range(count):
            record = listed[index]
            key, value = record.key, record.value
            headers = canonical_headers(record.headers)
            _view(&view, key, value, headers)
            view.offset = record.offset
            view.timestamp_ms = record.timestamp_ms
            if PyBytes_GET_SIZE(salts):
                salt = <const unsigned char*>PyBytes_AS_STRING(salts) + index * SALT_SIZE
            failed = leaf_run_add(&run, &view, salt, True)  # copies all of the record
            if failed:
                raise MemoryError
        leaf_run_flush(&run)
    finally:
        leaf_run_end(&run)
    return hashes
