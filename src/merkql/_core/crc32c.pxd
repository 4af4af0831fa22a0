cdef unsigned int crc32c_update(unsigned int crc, const unsigned char* data,
                                size_t size) noexcept nogil
    # Start with 0 and feed a result back to continue; data is borrowed for the call. Any thread,
    # no GIL.
