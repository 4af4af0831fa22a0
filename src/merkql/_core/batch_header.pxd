"""The fixed part of a record batch: where its fields are, and what may be believed of them.

Nothing here takes a reference or needs the GIL. `at` points at `available` readable bytes, and the
sizes in a BatchHeader have been checked against those.
"""

cdef enum:
    # Positions of the fields in a batch.
    AT_LENGTH = 8
    AT_LEADER_EPOCH = 12
    AT_MAGIC = 16
    AT_CRC = 17
    AT_ATTRIBUTES = 21
    AT_LAST_OFFSET_DELTA = 23
    AT_BASE_TIMESTAMP = 27
    AT_MAX_TIMESTAMP = 35
    AT_PRODUCER_ID = 43
    AT_PRODUCER_EPOCH = 51
    AT_BASE_SEQUENCE = 53
    AT_RECORD_COUNT = 57
    HEADER_SIZE = 61

    LENGTH_MIN = 49                 # of the length field: a header without records
    LENGTH_BEGIN = 12               # what the length field counts begins here
    RECORD_SIZE_MIN = 7             # a record with nothing in it, its length included
    MAGIC = 2

    CODEC_MASK = 0x07
    CODEC_NONE = 0
    CODEC_GZIP = 1
    CODEC_SNAPPY = 2
    CODEC_LZ4 = 3
    CODEC_ZSTD = 4
    LOG_APPEND_TIME = 0x08
    CONTROL = 0x20


cdef enum Verdict:
    WHOLE       # a batch is there
    END         # the bytes end here, or only zeros follow
    TORN        # the bytes end inside a batch
    CORRUPT     # the bytes are wrong


cdef struct BatchHeader:
    long long first_offset
    long long base_timestamp_ms
    long long max_timestamp_ms
    long long count                 # of records, and of offsets: it must be the same
    size_t size                     # of the whole batch
    unsigned int crc
    unsigned int attributes


# Judges what begins at `at`, but for the checksum. expected_offset -1: any. *reason says why.
cdef Verdict read_header(const unsigned char* at, size_t available, long long expected_offset,
                         BatchHeader* header, const char** reason) noexcept nogil
cdef bint checksum_holds(const unsigned char* at, const BatchHeader* header) noexcept nogil
