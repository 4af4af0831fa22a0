"""Kafka's murmur2 (seed 0x9747b28c), inline: any core module may hash keys without the GIL."""

cimport cython


@cython.overflowcheck(False)
cdef inline unsigned int murmur2_hash(const unsigned char* data, size_t size) noexcept nogil:
    """The 32 bits Kafka's Java client computes, unsigned; `size` counts modulo 2**32, as there."""
    cdef unsigned int mix = 0x5BD1E995
    cdef unsigned int state = <unsigned int>0x9747B28C ^ <unsigned int>size
    cdef unsigned int word
    cdef size_t index
    cdef size_t tail = size & ~<size_t>3
    for index in range(0, tail, 4):
        word = (
            <unsigned int>data[index] | (<unsigned int>data[index + 1] << 8)
            | (<unsigned int>data[index + 2] << 16) | (<unsigned int>data[index + 3] << 24)
        )
        word *= mix
        word ^= word >> 24
        state = (state * mix) ^ (word * mix)
    if size - tail == 3:
        state ^= <unsigned int>data[tail + 2] << 16
    if size - tail >= 2:
        state ^= <unsigned int>data[tail + 1] << 8
    if size - tail >= 1:
        state = (state ^ data[tail]) * mix
    state = (state ^ (state >> 13)) * mix
    return state ^ (state >> 15)
