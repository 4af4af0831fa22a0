"""Leaf hashes of many records at a time, without the GIL and without an allocation a record.

A LeafRun gathers canonical messages and hashes them a run at a time. Begin it with where the hashes
go; add records in offset order; flush before the hashes are read; end it always, also after a
failed begin or add.
"""

cdef enum:
    ENTRY_SIZE = 49
    BUNDLED_SIZE = 51           # an entry behind its size, as tlog-tiles has them
    HASH_SIZE = 32
    SALT_SIZE = 16
    LEAF_RUN_RECORDS = 128
    LEAF_RUN_BYTES = 49152      # of messages; a longer one makes a run of its own


cdef struct LeafRun:
    unsigned char* scratch
    size_t capacity
    size_t used
    size_t count
    unsigned char* hashes       # where the next hash goes
    unsigned char* bundle       # where the next entry goes, BUNDLED_SIZE each; NULL: nowhere
    size_t starts[LEAF_RUN_RECORDS]
    size_t sizes[LEAF_RUN_RECORDS]
    unsigned char entries[LEAF_RUN_RECORDS * ENTRY_SIZE]
    unsigned char given[LEAF_RUN_RECORDS]   # whether the digest stands in the entry already


cdef struct RecordView:
    # One record's borrowed bytes. Sizes of -1 are null.
    const unsigned char* key
    const unsigned char* value
    const unsigned char* headers        # in Kafka's form, or the canonical list
    Py_ssize_t key_size
    Py_ssize_t value_size
    Py_ssize_t headers_size             # of the canonical list, whatever the form
    long long header_count
    long long offset
    long long timestamp_ms
    const unsigned char* erased_digest  # of a record that is erased, HASH_SIZE bytes; else NULL


# Both return -1 out of memory. salt: NULL or SALT_SIZE bytes. is_canonical: the form of headers.
cdef int leaf_run_begin(LeafRun* run, unsigned char* hashes) noexcept nogil
cdef int leaf_run_add(LeafRun* run, const RecordView* record, const unsigned char* salt,
                      bint is_canonical) noexcept nogil
cdef void leaf_run_flush(LeafRun* run) noexcept nogil
cdef void leaf_run_end(LeafRun* run) noexcept nogil

# The canonical list: i32 count; of each i32 name size | name | i32 value size (-1: null) | value.
cdef bytes canonical_headers(tuple headers)

# Of a record in Kafka's form; the salt has 0 or SALT_SIZE bytes.
cdef tuple entry_and_leaf_hash(const RecordView* record, bytes salt)
