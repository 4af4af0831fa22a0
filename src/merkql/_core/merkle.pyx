"""Roots and proofs of any size of a merkle tree, from the nodes that are stored.

Nodes of levels 0, 4, 8, … are stored by somebody else, who is asked once a proof for all it needs;
other whole nodes are hashed again from those. Stores and checks nothing.
Format: docs/formats/merkle-log.md.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

from merkql._core.frontier cimport (
    HASH_SIZE, LEVEL_COUNT, LEVEL_STRIDE, Frontier as RightEdge, Hash, as_bytes, bit_length, fold,
    join, tree_size_max, u64, whole_number
)
from merkql._core.sha256 cimport node_hash_many

from merkql._core.frontier import EMPTY_ROOT
from merkql._core.frontier import HASH_BYTES, STORED_LEVEL_STRIDE, Frontier  # no-cython-lint

cdef enum:
    # Whole nodes a plan may want: a path, the ragged edge that one of its parts folds, a leaf.
    NODE_MAX = 128
    # Stored hashes at work at once: of at most three nodes a level, 8 of the highest in four.
    WORK_MAX = 512
    # Neighbours of one level are read as one while they fit a tile: cheaper than a second read.
    RUN_COUNT_MAX = 256


def stored_count(size, int level) -> int:
    """How many nodes of a level are whole, hence stored, in a tree of `size` leaves."""
    return whole_number(size, "size", 0, tree_size_max()) >> level


# Planning: which whole nodes an answer needs, and which runs of stored hashes these ---------------


cdef struct Node:
    int level
    u64 index
    int run      # that has its stored hashes; -1 if its hash is known


cdef struct Run:
    int level    # a stored one
    u64 first
    u64 end


cdef struct Plan:
    Node nodes[NODE_MAX]
    Hash hashes[NODE_MAX]        # of the nodes
    Run runs[NODE_MAX]
    int starts[LEVEL_COUNT + 2]  # part i of the answer folds nodes starts[i] to starts[i + 1]
    int node_count
    int run_count
    int part_count
    u64 known_size               # of the tree whose peaks are known, or 0
    const Hash* known_peak
    const Hash* known_edge


cdef void begin(Plan* plan, u64 size, RightEdge frontier) noexcept:
    plan.node_count = plan.run_count = plan.part_count = plan.starts[0] = 0
    plan.known_size = 0
    if frontier is not None and frontier.leaf_count == size:
        plan.known_size = size
        plan.known_peak = frontier.peak
        plan.known_edge = frontier.folded()


cdef void want(Plan* plan, int level, u64 index) noexcept:
    cdef int i = plan.node_count, above = level % LEVEL_STRIDE
    plan.node_count += 1
    plan.nodes[i].level = level
    plan.nodes[i].index = index
    if plan.known_size >> level & 1 and plan.known_size >> level == index + 1:
        plan.hashes[i] = plan.known_peak[level]
        plan.nodes[i].run = -1
    else:
        plan.nodes[i].run = place(plan, level - above, index << above, (index + 1) << above)


cdef int place(Plan* plan, int level, u64 first, u64 end) noexcept:
    """Adds stored hashes to a run that is near, or begins one; returns which."""
    cdef Run* run
    cdef int i
    for i in range(plan.run_count):
        run = &plan.runs[i]
        if run.level == level and max(run.end, end) - min(run.first, first) <= RUN_COUNT_MAX:
            run.first = min(run.first, first)
            run.end = max(run.end, end)
            return i
    plan.runs[plan.run_count] = Run(level, first, end)
    plan.run_count += 1
    return plan.run_count - 1


cdef void end_part(Plan* plan) noexcept:
    plan.part_count += 1
    plan.starts[plan.part_count] = plan.node_count


cdef void want_peaks(Plan* plan, u64 size, int top) noexcept:
    """The peaks of a tree of `size` leaves, from level `top` down; folded, if they are known."""
    cdef int level
    for level in range(top, -1, -1):
        if size >> level & 1:
            want(plan, level, (size >> level) - 1)
            if plan.known_size == size:
                plan.hashes[plan.node_count - 1] = plan.known_edge[level]
                return


cdef void want_path(Plan* plan, u64 index, int level, u64 size) noexcept:
    """The siblings on the way to the root from the node at `level` above leaf `index`."""
    cdef u64 last = size - 1
    # Below level inner - 1 all siblings are whole. There the path of the last leaf joins from the
    # right, so the sibling is whatever is left of the tree. Above it, whole trees to the left.
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


# Fetching and combining ------------------------------------------------------------------------


cdef int fetch(Plan* plan, object read) except -1:
    """Asks once for all stored hashes the plan needs; computes the hashes of its nodes."""
    cdef const Hash* runs[NODE_MAX]
    cdef list requests = []
    cdef Run* run
    cdef int i
    if plan.run_count == 0:
        return 0
    for i in range(plan.run_count):
        run = &plan.runs[i]
        requests.append((run.level, run.first, run.end - run.first))
    answers = read(requests)
    if type(answers) is not list or len(answers) != plan.run_count:
        raise ValueError(f"a hash reader asked for {plan.run_count} runs gave something else")
    for i in range(plan.run_count):
        run = &plan.runs[i]
        answer = (<list>answers)[i]
        if type(answer) is not bytes or (
                <u64>PyBytes_GET_SIZE(answer) != (run.end - run.first) * HASH_SIZE):
            raise ValueError(
                f"a hash reader did not give the {run.end - run.first} hashes asked for")
        runs[i] = <const Hash*>PyBytes_AS_STRING(answer)
    combine(plan, runs)
    return 0


cdef void combine(Plan* plan, const Hash** runs) noexcept:
    """The hashes of the plan's nodes; those on one step of the way up are hashed at once."""
    cdef Hash work[WORK_MAX]
    cdef Node* node
    cdef const Hash* source
    cdef int above, i, count = 0, done = 0
    for above in range(LEVEL_STRIDE - 1, -1, -1):
        for i in range(plan.node_count):
            node = &plan.nodes[i]
            if node.run >= 0 and node.level % LEVEL_STRIDE == above:
                source = runs[node.run] + ((node.index << above) - plan.runs[node.run].first)
                memcpy(&work[count], source, HASH_SIZE << above)
                count += 1 << above
        if above:
            count //= 2
            node_hash_many(work[0].at, count, work[0].at)
    for above in range(LEVEL_STRIDE - 1, -1, -1):
        for i in range(plan.node_count):
            node = &plan.nodes[i]
            if node.run >= 0 and node.level % LEVEL_STRIDE == above:
                plan.hashes[i] = work[done]
                done += 1


cdef list parts_of(Plan* plan):
    cdef Hash part
    cdef list parts = []
    cdef int i
    for i in range(plan.part_count):
        fold(&plan.hashes[plan.starts[i]], plan.starts[i + 1] - plan.starts[i], &part)
        parts.append(as_bytes(&part))
    return parts


# Roots and proofs ------------------------------------------------------------------------------


def root_at(size, read) -> bytes:
    """The root of the first `size` leaves."""
    cdef Plan plan
    cdef u64 leaf_count = whole_number(size, "size", 0, tree_size_max())
    if leaf_count == 0:
        return EMPTY_ROOT
    begin(&plan, leaf_count, None)
    want_peaks(&plan, leaf_count, LEVEL_COUNT - 1)
    end_part(&plan)
    fetch(&plan, read)
    return parts_of(&plan)[0]


def peaks_at(size, read) -> bytes:
    """The peaks of the first `size` leaves, as Frontier takes them."""
    cdef Plan plan
    cdef u64 leaf_count = whole_number(size, "size", 0, tree_size_max())
    begin(&plan, leaf_count, None)
    want_peaks(&plan, leaf_count, LEVEL_COUNT - 1)
    fetch(&plan, read)
    return PyBytes_FromStringAndSize(<char*>plan.hashes, plan.node_count * HASH_SIZE)


def inclusion_path(index, size, read, RightEdge frontier=None) -> list:
    """The inclusion proof of a leaf in the tree of the first `size` leaves (RFC 9162 §2.1.3).

    A frontier of that very size spares reads at the right edge; any other is of no use.
    """
    cdef Plan plan
    fetch_inclusion(&plan, index, size, read, frontier)
    return parts_of(&plan)[1:]


def prove(index, size, read, RightEdge frontier=None) -> tuple:
    """(leaf hash, inclusion path, root), the root as leaf and path give it, all with one read.

    Compare the root with one that is known otherwise: it is wrong if a stored hash is.
    """
    cdef Plan plan
    cdef Hash root
    cdef Hash* sibling
    cdef u64 leaf
    cdef int inner, level
    inner = fetch_inclusion(&plan, index, size, read, frontier)
    leaf = plan.nodes[0].index
    parts = parts_of(&plan)
    root = plan.hashes[0]
    for level in range(plan.part_count - 1):
        sibling = <Hash*>PyBytes_AS_STRING((<list>parts)[level + 1])
        if level >= inner or leaf >> level & 1:
            join(sibling, &root, &root)
        else:
            join(&root, sibling, &root)
    return parts[0], parts[1:], as_bytes(&root)


cdef int fetch_inclusion(Plan* plan, index, size, read, RightEdge frontier) except -1:
    """Fetches the leaf, as part 0, and the parts of its path; returns how many may stand right."""
    cdef u64 leaf_count = whole_number(size, "size", 1, tree_size_max())
    cdef u64 leaf = whole_number(index, "index", 0, leaf_count - 1)
    begin(plan, leaf_count, frontier)
    want(plan, 0, leaf)
    end_part(plan)
    want_path(plan, leaf, 0, leaf_count)
    fetch(plan, read)
    return bit_length(leaf ^ (leaf_count - 1))


def consistency_path(old, new, read, RightEdge frontier=None) -> list:
    """The proof that the first `new` leaves begin with the first `old` (RFC 9162 §2.1.4).

    Empty if the sizes are equal. A frontier of size `new` spares reads at the right edge.
    """
    cdef Plan plan
    cdef u64 new_count = whole_number(new, "new", 1, tree_size_max())
    cdef u64 old_count = whole_number(old, "old", 1, new_count)
    cdef int lowest = 0
    if old_count == new_count:
        return []
    while not old_count >> lowest & 1:
        lowest += 1
    begin(&plan, new_count, frontier)
    if old_count >> lowest != 1:  # else the old root is this node, and the verifier has it
        want(&plan, lowest, (old_count >> lowest) - 1)
        end_part(&plan)
    want_path(&plan, old_count - 1, lowest, new_count)
    fetch(&plan, read)
    return parts_of(&plan)
