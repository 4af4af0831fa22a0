# The numbers of the tree, once; merkle.pyx mirrors those that Python code needs.

cdef enum:
    HASH_SIZE = 32      # bytes of a hash
    LEVEL_STRIDE = 4    # levels 0, 4, 8, … are stored: a stored hash covers 16 of the stored level below
    LEVEL_COUNT = 63    # levels of the largest tree, 2 ** 62 leaves
