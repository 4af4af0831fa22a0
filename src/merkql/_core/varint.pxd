"""Big-endian integers and Kafka's zig-zag varints, inline: what the codecs of batches are made of.

Readers take [at, end) and return where they stopped: NULL when the bytes run out or are no such
integer; they never touch `end`. Writers trust the caller to have room, at most 10 bytes, and return
the next place.
"""

cimport cython

cdef enum:
    VARINT_SIZE_MAX = 5
    VARLONG_SIZE_MAX = 10


cdef inline unsigned int load_be16(const unsigned char* at) noexcept nogil:
    return (<unsigned int>at[0] << 8) | at[1]


cdef inline unsigned int load_be32(const unsigned char* at) noexcept nogil:
    return (
        (<unsigned int>at[0] << 24) | (<unsigned int>at[1] << 16)
        | (<unsigned int>at[2] << 8) | at[3]
    )


cdef inline unsigned long long load_be64(const unsigned char* at) noexcept nogil:
    return (<unsigned long long>load_be32(at) << 32) | load_be32(at + 4)


cdef inline unsigned char* store_be16(unsigned char* at, unsigned int value) noexcept nogil:
    at[0] = (value >> 8) & 0xFF
    at[1] = value & 0xFF
    return at + 2


cdef inline unsigned char* store_be32(unsigned char* at, unsigned int value) noexcept nogil:
    at[0] = (value >> 24) & 0xFF
    at[1] = (value >> 16) & 0xFF
    at[2] = (value >> 8) & 0xFF
    at[3] = value & 0xFF
    return at + 4


cdef inline unsigned char* store_be64(unsigned char* at, unsigned long long value) noexcept nogil:
    store_be32(at, <unsigned int>(value >> 32))
    return store_be32(at + 4, <unsigned int>value)


@cython.overflowcheck(False)
cdef inline unsigned long long zigzag(long long value) noexcept nogil:
    return (<unsigned long long>value << 1) ^ (0 - (<unsigned long long>value >> 63))


@cython.overflowcheck(False)
cdef inline long long unzigzag(unsigned long long bits) noexcept nogil:
    return <long long>((bits >> 1) ^ (0 - (bits & 1)))


cdef inline size_t varint_size(long long value) noexcept nogil:
    cdef unsigned long long bits = zigzag(value)
    cdef size_t size = 1
    while bits >= 0x80:
        bits >>= 7
        size += 1
    return size


cdef inline unsigned char* write_varint(unsigned char* at, long long value) noexcept nogil:
    """Writes a varint or a varlong: for a value both can hold they are the same bytes."""
    cdef unsigned long long bits = zigzag(value)
    while bits >= 0x80:
        at[0] = <unsigned char>((bits & 0x7F) | 0x80)
        bits >>= 7
        at += 1
    at[0] = <unsigned char>bits
    return at + 1


@cython.overflowcheck(False)
cdef inline const unsigned char* read_long_bits(
    const unsigned char* at, const unsigned char* end, unsigned long long* bits, int size_max
) noexcept nogil:
    """Reads the 7-bit groups of one varint of at most size_max bytes."""
    cdef unsigned long long result = 0
    cdef int shift = 0
    while at < end and size_max > 0:
        result |= <unsigned long long>(at[0] & 0x7F) << shift
        if at[0] < 0x80:
            if shift == 63 and at[0] > 1:
                return NULL
            bits[0] = result
            return at + 1
        at += 1
        shift += 7
        size_max -= 1
    return NULL


cdef inline const unsigned char* read_varint(
    const unsigned char* at, const unsigned char* end, long long* value
) noexcept nogil:
    """A signed 32-bit varint: 1-5 bytes. More, or a value beyond 32 bits, is NULL."""
    cdef unsigned long long bits = 0
    if at < end and at[0] < 0x80:
        value[0] = unzigzag(at[0])
        return at + 1
    at = read_long_bits(at, end, &bits, VARINT_SIZE_MAX)
    if at is NULL or (bits >> 32) != 0:
        return NULL
    value[0] = unzigzag(bits)
    return at


cdef inline const unsigned char* read_varlong(
    const unsigned char* at, const unsigned char* end, long long* value
) noexcept nogil:
    """A signed 64-bit varint: 1-10 bytes."""
    cdef unsigned long long bits = 0
    if at < end and at[0] < 0x80:
        value[0] = unzigzag(at[0])
        return at + 1
    at = read_long_bits(at, end, &bits, VARLONG_SIZE_MAX)
    if at is NULL:
        return NULL
    value[0] = unzigzag(bits)
    return at
