/* SHA-256 of messages of any size: how they are padded and shared out over the lanes. */
#include <string.h>

#include "endian.h"
#include "sha256.h"
#include "sha256_engine.h"

/* Messages in progress. A lane reads the whole blocks of its message in place, then `tail`. */
struct lanes {
    uint32_t states[SHA256_LANES_MAX][8];
    const unsigned char *next[SHA256_LANES_MAX];
    size_t blocks[SHA256_LANES_MAX];      /* left at `next` */
    size_t tail_blocks[SHA256_LANES_MAX]; /* to come after those; 0 once `next` is the tail */
    size_t index[SHA256_LANES_MAX];       /* of the message */
    unsigned char tail[SHA256_LANES_MAX][2 * SHA256_BLOCK_SIZE];
};

static void turn_to_tail(struct lanes *lanes, size_t lane)
{
    lanes->next[lane] = lanes->tail[lane];
    lanes->blocks[lane] = lanes->tail_blocks[lane];
    lanes->tail_blocks[lane] = 0;
}

static void start(struct lanes *lanes, size_t lane, size_t index, const unsigned char *message,
                  size_t size)
{
    size_t rest = size % SHA256_BLOCK_SIZE;
    size_t tail_blocks = rest + 9 <= SHA256_BLOCK_SIZE ? 1 : 2; /* 9: the bit and the length */
    size_t tail_size = tail_blocks * SHA256_BLOCK_SIZE;
    unsigned char *tail = lanes->tail[lane];
    memset(tail, 0, tail_size);
    if (rest > 0) {
        memcpy(tail, message + size - rest, rest);
    }
    tail[rest] = 0x80;
    store_be64(tail + tail_size - 8, (uint64_t)size * 8);
    memcpy(lanes->states[lane], sha256_initial_state, sizeof lanes->states[lane]);
    lanes->next[lane] = message;
    lanes->blocks[lane] = size / SHA256_BLOCK_SIZE;
    lanes->tail_blocks[lane] = tail_blocks;
    lanes->index[lane] = index;
    if (lanes->blocks[lane] == 0) {
        turn_to_tail(lanes, lane);
    }
}

/* Fills the place of a finished lane, so that lanes in use stay together. */
static void move(struct lanes *lanes, size_t to, size_t from)
{
    memcpy(lanes->states[to], lanes->states[from], sizeof lanes->states[to]);
    memcpy(lanes->tail[to], lanes->tail[from], sizeof lanes->tail[to]);
    lanes->next[to] = lanes->tail_blocks[from] > 0
        ? lanes->next[from]
        : lanes->tail[to] + (lanes->next[from] - lanes->tail[from]);
    lanes->blocks[to] = lanes->blocks[from];
    lanes->tail_blocks[to] = lanes->tail_blocks[from];
    lanes->index[to] = lanes->index[from];
}

void sha256_messages(const struct sha256_engine *engine, const unsigned char *const *messages,
                     const size_t *sizes, size_t count, unsigned char *digests)
{
    struct lanes lanes;
    size_t used = 0, started = 0;
    for (; used < SHA256_LANES_MAX && started < count; used++, started++) {
        start(&lanes, used, started, messages[started], sizes[started]);
    }
    while (used > 0) {
        size_t run = lanes.blocks[0];
        for (size_t lane = 1; lane < used; lane++) {
            run = lanes.blocks[lane] < run ? lanes.blocks[lane] : run;
        }
        engine->compress(lanes.states, lanes.next, used, run);
        for (size_t lane = used; lane-- > 0;) {
            lanes.next[lane] += run * SHA256_BLOCK_SIZE;
            lanes.blocks[lane] -= run;
            if (lanes.blocks[lane] > 0) {
                continue;
            }
            if (lanes.tail_blocks[lane] > 0) {
                turn_to_tail(&lanes, lane);
                continue;
            }
            store_digest(digests + SHA256_DIGEST_SIZE * lanes.index[lane], lanes.states[lane]);
            if (started < count) {
                start(&lanes, lane, started, messages[started], sizes[started]);
                started++;
            } else if (lane != --used) {
                move(&lanes, lane, used);
            }
        }
    }
}
