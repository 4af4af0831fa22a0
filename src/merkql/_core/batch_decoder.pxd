"""What the two readers of batches share."""

from merkql._core.batch_header cimport BatchHeader

# The decompressed records of a compressed batch, bounded by `limit`. BatchError names `position`.
cdef bytes open_records(
    const unsigned char* batch, const BatchHeader* header, size_t position, size_t limit
)
