# Pointers are borrowed for the length of the call; nothing needs alignment. Any thread, no GIL.

cdef void sha256_many(const unsigned char* const* messages, const size_t* sizes, size_t count,
                      unsigned char* digests) noexcept nogil
    # digests: 32 * count bytes. A message may be NULL where its size is 0.

cdef void leaf_hash_many(const unsigned char* entries, size_t count,
                         unsigned char* hashes) noexcept nogil
    # entries: 49 * count bytes back to back; each hash is SHA-256(0x00 | entry).

cdef void node_hash_many(const unsigned char* pairs, size_t count,
                         unsigned char* hashes) noexcept nogil
    # pairs: 64 * count bytes, left | right; each hash is SHA-256(0x01 | left | right).
    # hashes may equal pairs: a pair is read before anything is written over it.
