"""The tree of RFC 6962 and RFC 9162: growing it, its roots at any size, its proofs.

Node (level, index) is the whole subtree of 2 ** level leaves that begins at leaf index << level.
Nodes of levels 0, 4, 8, … are stored by somebody else, who is asked once a proof for all it needs;
other whole nodes are hashed again from those. Checks no proof: docs/formats/merkle-log.md.
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cimport cython

from merkql._core.sha256 cimport node_hash_many

ctypedef unsigned long long u64
ctypedef unsigned char u8

cdef enum:
    # Up to this many leaves are hashed on the stack and with the GIL: 64 nodes take a few µs.
    SMALL_COUNT = 64
    SMALL_SCRATCH = 51  # what grow() needs for them: 64 // 2 + 1 + 64 // 4 + 2 hashes
    STORED_LEVELS = 16  # 0, 4, … 60
    # Whole nodes a plan may want: a path, the ragged edge that one of its parts folds, a leaf.
    NODE_MAX = 128
    # Ranges of one level are read as one while they fit a tile: 8 KiB cost less than a second read.
    READ_COUNT_MAX = 256

cdef u64 TREE_SIZE_MAX = <u64>1 << 62

HASH_BYTES = HASH_SIZE
STORED_LEVEL_STRIDE = LEVEL_STRIDE
EMPTY_ROOT = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


# Growing ---------------------------------------------------------------------------------------


@cython.final
cdef class Frontier:
    """The right edge of a tree: its size and its peaks, the roots of the whole trees it is made of.

    Enough to append and to know the root. One thread at a time may append; reading meanwhile
    gives the state before or after. Raises ValueError unless peaks are 32 bytes for every bit set
    in the size, tallest first.
    """

    cdef u64 leaf_count
    cdef u8 peak[LEVEL_COUNT * HASH_SIZE]  # by level; the bits set in leaf_count say which count

    def __cinit__(self, size=0, peaks=b""):
        cdef int level
        cdef u64 leaf_count = whole_number(size, "size", 0, TREE_SIZE_MAX)
        cdef bytes hashes = bytes(memoryview(peaks))
        cdef const u8* at = <const u8*>PyBytes_AS_STRING(hashes)
        cdef int count = bit_count(leaf_count)
        if PyBytes_GET_SIZE(hashes) != count * HASH_SIZE:
            raise ValueError(
                f"a tree of {leaf_count} leaves has {count} peaks of {HASH_SIZE} bytes, "
                f"not {PyBytes_GET_SIZE(hashes)} bytes of them"
            )
        for level in range(LEVEL_COUNT - 1, -1, -1):
            if leaf_count >> level & 1:
                memcpy(self.peak + level * HASH_SIZE, at, HASH_SIZE)
                at += HASH_SIZE
        self.leaf_count = leaf_count

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self.leaf_count

    @property
    def peaks(self) -> bytes:
        """The peaks, 32 bytes each, tallest first."""
        cdef u8 hashes[LEVEL_COUNT * HASH_SIZE]
        return PyBytes_FromStringAndSize(<char*>hashes, self.collect(hashes) * HASH_SIZE)

    def root(self) -> bytes:
        """The root of the tree; EMPTY_ROOT while it has no leaves."""
        cdef u8 hashes[LEVEL_COUNT * HASH_SIZE]
        cdef u8 root[HASH_SIZE]
        cdef int count = self.collect(hashes)
        if count == 0:
            return EMPTY_ROOT
        fold(hashes, count, root)
        return PyBytes_FromStringAndSize(<char*>root, HASH_SIZE)

    def copy(self) -> Frontier:
        """Another frontier in the same state."""
        cdef Frontier other = Frontier.__new__(Frontier)
        other.leaf_count = self.leaf_count
        memcpy(other.peak, self.peak, sizeof(self.peak))
        return other

    def append(self, leaf_hashes) -> list:
        """Append leaves, 32 bytes each; return the nodes to store: (level, first index, hashes).

        Only levels that gain nodes are listed, level 0 first. An exception leaves all as it was.
        """
        cdef bytes leaves = (
            leaf_hashes if PyBytes_CheckExact(leaf_hashes) else bytes(memoryview(leaf_hashes))
        )
        cdef u64 old = self.leaf_count, new, changed
        cdef size_t count = <size_t>PyBytes_GET_SIZE(leaves) // HASH_SIZE
        cdef u8* stored[STORED_LEVELS]
        cdef u8 fresh[LEVEL_COUNT * HASH_SIZE]
        cdef u8 small[SMALL_SCRATCH * HASH_SIZE]
        cdef u8* scratch
        cdef const u8* nodes = <const u8*>PyBytes_AS_STRING(leaves)
        cdef int level
        if <size_t>PyBytes_GET_SIZE(leaves) != count * HASH_SIZE:
            raise ValueError(f"{PyBytes_GET_SIZE(leaves)} bytes are not hashes of {HASH_SIZE}")
        if count > TREE_SIZE_MAX - old:
            raise ValueError(f"a tree has at most {TREE_SIZE_MAX} leaves")
        if count == 0:
            return []
        new = old + count
        additions = [(0, old, leaves)]
        for level in range(LEVEL_STRIDE, LEVEL_COUNT, LEVEL_STRIDE):
            if new >> level == old >> level:
                break
            hashes = PyBytes_FromStringAndSize(
                NULL, <Py_ssize_t>((new >> level) - (old >> level)) * HASH_SIZE)
            stored[level // LEVEL_STRIDE] = <u8*>PyBytes_AS_STRING(hashes)
            additions.append((level, old >> level, hashes))
        if count <= SMALL_COUNT:
            changed = grow(self.peak, old, nodes, count, stored, small, fresh)
        else:
            scratch = <u8*>malloc((count // 2 + 1 + count // 4 + 2) * HASH_SIZE)
            if scratch == NULL:
                raise MemoryError()
            with nogil:
                changed = grow(self.peak, old, nodes, count, stored, scratch, fresh)
            free(scratch)
        assert self.leaf_count == old, "two threads append to one frontier"
        for level in range(LEVEL_COUNT):
            if changed >> level == 0:
                break
            if changed >> level & 1:
                memcpy(self.peak + level * HASH_SIZE, fresh + level * HASH_SIZE, HASH_SIZE)
        self.leaf_count = new
        return additions

    cdef int collect(self, u8* hashes) noexcept:
        """Copies the peaks, tallest first; returns how many."""
        cdef int level, count = 0
        for level in range(LEVEL_COUNT - 1, -1, -1):
            if self.leaf_count >> level & 1:
                memcpy(hashes + count * HASH_SIZE, self.peak + level * HASH_SIZE, HASH_SIZE)
                count += 1
        return count


cdef u64 grow(const u8* peak, u64 old, const u8* nodes, size_t count, u8** stored, u8* scratch,
              u8* fresh) noexcept nogil:
    """Hashes what `count` new leaves complete, a level at a time, so that many are hashed at once.

    Writes whole nodes of levels 4, 8, … to `stored`, new peaks to `fresh`, by level; returns the
    levels of these as bits. `scratch` holds (count // 2 + 1) + (count // 4 + 2) hashes.
    """
    cdef u8* out = scratch
    cdef u8* other = scratch + (count // 2 + 1) * HASH_SIZE
    cdef u8 pair[2 * HASH_SIZE]
    cdef u64 first = old, changed = 0
    cdef size_t joined
    cdef int level = 0
    while True:
        joined = 0
        if first & 1:  # the first new node is the right half of one whose left half is a peak
            memcpy(pair, peak + level * HASH_SIZE, HASH_SIZE)
            memcpy(pair + HASH_SIZE, nodes, HASH_SIZE)
            node_hash_many(pair, 1, out)
            nodes += HASH_SIZE
            count -= 1
            joined = 1
        if count & 1:
            memcpy(fresh + level * HASH_SIZE, nodes + (count - 1) * HASH_SIZE, HASH_SIZE)
            changed |= <u64>1 << level
        if count > 1:
            node_hash_many(nodes, count // 2, out + joined * HASH_SIZE)
        count = joined + count // 2
        if count == 0:
            return changed
        level += 1
        first >>= 1
        nodes = out
        out, other = other, out
        if level % LEVEL_STRIDE == 0:
            memcpy(stored[level // LEVEL_STRIDE], nodes, count * HASH_SIZE)


def stored_count(size, int level) -> int:
    """How many nodes of a level are whole, hence stored, in a tree of `size` leaves."""
    return <u64>size >> level


# Roots and proofs: plan, one read, combine -------------------------------------------------------


cdef struct Node:
    int level    # -1: its hash is known already
    u64 index


cdef struct Range:
    int level
    u64 first
    u64 end


cdef struct Plan:
    Node nodes[NODE_MAX]
    u8 hashes[NODE_MAX * HASH_SIZE]
    int count
    int starts[LEVEL_COUNT + 2]  # part i of the answer folds nodes starts[i] to starts[i + 1]
    int parts
    u64 known_size               # 0, or the tree whose peaks are known
    const u8* known_peak


cdef void begin(Plan* plan, Frontier frontier) noexcept:
    plan.count = plan.parts = plan.starts[0] = 0
    plan.known_size = 0
    if frontier is not None:
        plan.known_size = frontier.leaf_count
        plan.known_peak = frontier.peak


cdef void want(Plan* plan, int level, u64 index) noexcept:
    plan.nodes[plan.count].level = level
    plan.nodes[plan.count].index = index
    if plan.known_size >> level & 1 and plan.known_size >> level == index + 1:
        memcpy(plan.hashes + plan.count * HASH_SIZE, plan.known_peak + level * HASH_SIZE, HASH_SIZE)
        plan.nodes[plan.count].level = -1
    plan.count += 1


cdef void end_part(Plan* plan) noexcept:
    plan.parts += 1
    plan.starts[plan.parts] = plan.count


cdef void want_peaks(Plan* plan, u64 size, int top) noexcept:
    """The peaks of a tree of `size` leaves, from level `top` down."""
    cdef int level
    for level in range(top, -1, -1):
        if size >> level & 1:
            want(plan, level, (size >> level) - 1)


cdef void want_path(Plan* plan, u64 index, int level, u64 size) noexcept:
    """The siblings on the way from the node at `level` above leaf `index` to the root."""
    cdef u64 last = size - 1
    # Below level inner - 1 all siblings are whole. There the path of the last leaf joins from the
    # right, so the sibling is whatever is left of the tree. Above, whole trees to the left.
    cdef int inner = bit_length(index ^ last)
    while level < inner - 1:
        want(plan, level, (index >> level) ^ 1)
        end_part(plan)
        level += 1
    if level == inner - 1:
        if size & (((<u64>1) << level) - 1) == 0:
            want(plan, level, last >> level)
        else:
            want_peaks(plan, size, level - 1)
        end_part(plan)
        level += 1
    while index >> level:
        if index >> level & 1:
            want(plan, level, (index >> level) - 1)
            end_part(plan)
        level += 1


cdef int fetch(Plan* plan, object read) except -1:
    """Asks once for the stored hashes the plan needs; computes the hashes of its nodes."""
    cdef Range ranges[NODE_MAX]
    cdef int range_of[NODE_MAX]
    cdef int count = 0, i, span
    cdef Range* each
    cdef const u8* source
    for i in range(plan.count):
        range_of[i] = -1 if plan.nodes[i].level < 0 else place(ranges, &count, &plan.nodes[i])
    if count == 0:
        return 0
    answers = read([
        (ranges[i].level, ranges[i].first, ranges[i].end - ranges[i].first) for i in range(count)
    ])
    if not isinstance(answers, list) or len(answers) != count:
        raise ValueError(f"the hash reader was asked for {count} runs and answered otherwise")
    for i in range(count):
        answer = (<list>answers)[i]
        if not PyBytes_CheckExact(answer) or <u64>PyBytes_GET_SIZE(answer) != (
                ranges[i].end - ranges[i].first) * HASH_SIZE:
            raise ValueError(f"the hash reader's answer {i} is not of the size asked for")
    for i in range(plan.count):
        if range_of[i] < 0:
            continue
        each = &ranges[range_of[i]]
        span = 1 << (plan.nodes[i].level - each.level)
        source = <const u8*>PyBytes_AS_STRING((<list>answers)[range_of[i]])
        source += (plan.nodes[i].index * span - each.first) * HASH_SIZE
        reduce_run(source, span, plan.hashes + i * HASH_SIZE)
    return 0


cdef int place(Range* ranges, int* count, Node* node) noexcept:
    """Adds the stored hashes of a node to a range of theirs or to a new one; returns which."""
    cdef int level = node.level - node.level % LEVEL_STRIDE
    cdef u64 first = node.index << (node.level - level)
    cdef u64 end = first + ((<u64>1) << (node.level - level))
    cdef int i
    for i in range(count[0]):
        if ranges[i].level == level and (
                max(ranges[i].end, end) - min(ranges[i].first, first) <= READ_COUNT_MAX):
            ranges[i].first = min(ranges[i].first, first)
            ranges[i].end = max(ranges[i].end, end)
            return i
    ranges[count[0]].level = level
    ranges[count[0]].first = first
    ranges[count[0]].end = end
    count[0] += 1
    return count[0] - 1


cdef void reduce_run(const u8* run, int count, u8* out) noexcept:
    """The hash of the node above 1, 2, 4 or 8 neighbours."""
    cdef u8 half[4 * HASH_SIZE]
    if count == 1:
        memcpy(out, run, HASH_SIZE)
        return
    while count > 2:
        node_hash_many(run, count // 2, half)
        run = half
        count //= 2
    node_hash_many(run, 1, out)


cdef void fold(const u8* hashes, int count, u8* out) noexcept:
    """The root of whole trees side by side, each smaller than the one to its left."""
    cdef u8 pair[2 * HASH_SIZE]
    cdef int i
    memcpy(out, hashes + (count - 1) * HASH_SIZE, HASH_SIZE)
    for i in range(count - 2, -1, -1):
        memcpy(pair, hashes + i * HASH_SIZE, HASH_SIZE)
        memcpy(pair + HASH_SIZE, out, HASH_SIZE)
        node_hash_many(pair, 1, out)


cdef list parts_of(Plan* plan):
    cdef u8 part[HASH_SIZE]
    cdef list parts = []
    cdef int i
    for i in range(plan.parts):
        fold(plan.hashes + plan.starts[i] * HASH_SIZE, plan.starts[i + 1] - plan.starts[i], part)
        parts.append(PyBytes_FromStringAndSize(<char*>part, HASH_SIZE))
    return parts


def root_at(size, read) -> bytes:
    """The root of the first `size` leaves. Raises ValueError for sizes no tree has."""
    cdef Plan plan
    cdef u64 leaf_count = whole_number(size, "size", 0, TREE_SIZE_MAX)
    if leaf_count == 0:
        return EMPTY_ROOT
    begin(&plan, None)
    want_peaks(&plan, leaf_count, LEVEL_COUNT - 1)
    end_part(&plan)
    fetch(&plan, read)
    return parts_of(&plan)[0]


def peaks_at(size, read) -> bytes:
    """The peaks of the first `size` leaves, as Frontier takes them."""
    cdef Plan plan
    cdef u64 leaf_count = whole_number(size, "size", 0, TREE_SIZE_MAX)
    begin(&plan, None)
    want_peaks(&plan, leaf_count, LEVEL_COUNT - 1)
    fetch(&plan, read)
    return PyBytes_FromStringAndSize(<char*>plan.hashes, plan.count * HASH_SIZE)


def inclusion_path(index, size, read, Frontier frontier=None) -> list:
    """The inclusion proof of a leaf in the tree of the first `size` leaves (RFC 9162 §2.1.3).

    A frontier of that very size spares reads at the right edge; any other is of no use.
    """
    cdef Plan plan
    cdef u64 leaf_count = whole_number(size, "size", 1, TREE_SIZE_MAX)
    cdef u64 leaf = whole_number(index, "index", 0, leaf_count - 1)
    begin(&plan, usable(frontier, leaf_count))
    want_path(&plan, leaf, 0, leaf_count)
    fetch(&plan, read)
    return parts_of(&plan)


def prove(index, size, read, Frontier frontier=None) -> tuple:
    """(leaf hash, inclusion path, root), the root as leaf and path give it, all with one read.

    Compare the root with one that is known otherwise: it is wrong if a stored hash is.
    """
    cdef Plan plan
    cdef u8 root[HASH_SIZE]
    cdef u8 pair[2 * HASH_SIZE]
    cdef u64 leaf_count = whole_number(size, "size", 1, TREE_SIZE_MAX)
    cdef u64 leaf = whole_number(index, "index", 0, leaf_count - 1)
    cdef int inner = bit_length(leaf ^ (leaf_count - 1)), level
    begin(&plan, usable(frontier, leaf_count))
    want(&plan, 0, leaf)
    end_part(&plan)
    want_path(&plan, leaf, 0, leaf_count)
    fetch(&plan, read)
    path = parts_of(&plan)
    memcpy(root, plan.hashes, HASH_SIZE)
    for level in range(plan.parts - 1):
        sibling = <u8*>PyBytes_AS_STRING((<list>path)[level + 1])
        if level >= inner or leaf >> level & 1:
            memcpy(pair, sibling, HASH_SIZE)
            memcpy(pair + HASH_SIZE, root, HASH_SIZE)
        else:
            memcpy(pair, root, HASH_SIZE)
            memcpy(pair + HASH_SIZE, sibling, HASH_SIZE)
        node_hash_many(pair, 1, root)
    return path[0], path[1:], PyBytes_FromStringAndSize(<char*>root, HASH_SIZE)


def consistency_path(old, new, read, Frontier frontier=None) -> list:
    """The proof that the first `new` leaves begin with the first `old` (RFC 9162 §2.1.4).

    Empty if the sizes are equal. A frontier of size `new` spares reads at the right edge.
    """
    cdef Plan plan
    cdef u64 new_count = whole_number(new, "new", 1, TREE_SIZE_MAX)
    cdef u64 old_count = whole_number(old, "old", 1, new_count)
    cdef int lowest = bit_length(old_count & (0 - old_count)) - 1
    if old_count == new_count:
        return []
    begin(&plan, usable(frontier, new_count))
    if old_count != (<u64>1) << lowest:  # else the old root is this node, and the verifier has it
        want(&plan, lowest, (old_count >> lowest) - 1)
        end_part(&plan)
    want_path(&plan, old_count - 1, lowest, new_count)
    fetch(&plan, read)
    return parts_of(&plan)


cdef Frontier usable(Frontier frontier, u64 size):
    return frontier if frontier is not None and frontier.leaf_count == size else None


# Numbers ---------------------------------------------------------------------------------------


cdef u64 whole_number(object value, str name, u64 low, u64 high) except? 0:
    cdef long long number
    try:
        number = value
    except OverflowError:
        number = -1
    if number < 0 or not low <= <u64>number <= high:
        raise ValueError(f"{name} is {value}, not from {low} to {high}")
    return <u64>number


cdef int bit_length(u64 number) noexcept nogil:
    cdef int length = 0
    while number:
        number >>= 1
        length += 1
    return length


cdef int bit_count(u64 number) noexcept nogil:
    cdef int count = 0
    while number:
        number &= number - 1
        count += 1
    return count
