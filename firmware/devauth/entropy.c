#include "entropy.h"

#include <string.h>

#include "board.h"

/* SP 800-90B 4.4, with a false alarm in 2^30 for a source of 4 bits per byte:
 * repetition count test  C = 1 + ceil(30 / 4)
 * adaptive proportion test  W = 512 because the source is not binary, C = 1 + critbinom(512, 2^-4, 1 - 2^-30) */
enum { REPETITION_CUTOFF = 9, PROPORTION_WINDOW = 512, PROPORTION_CUTOFF = 71 };
/* 4.3, 1.a: start-up tests on at least 1024 samples. */
enum { STARTUP_SAMPLES = 1024 };
/* SP 800-90A 8.6.7: entropy of full strength, and for the first seed a nonce of half of it. */
enum { SEED_SAMPLES = (ENTROPY_BITS + ENTROPY_BITS / 2) / NOISE_BITS_PER_SAMPLE, RESEED_SAMPLES = ENTROPY_BITS / NOISE_BITS_PER_SAMPLE };

static struct {
    bool has_failed;
    uint8_t last;
    unsigned repetitions;
    uint8_t watched;
    unsigned proportion;
    unsigned window;
} health;
static br_hmac_drbg_context drbg;

/* 4.4.1 */
static bool repetition_count_holds(uint8_t sample)
{
    health.repetitions = health.repetitions > 0 && sample == health.last ? health.repetitions + 1 : 1;
    health.last = sample;
    return health.repetitions < REPETITION_CUTOFF;
}

/* 4.4.2 */
static bool adaptive_proportion_holds(uint8_t sample)
{
    if (health.window == 0) {
        health.watched = sample;
        health.proportion = 0;
    }
    if (sample == health.watched) health.proportion++;
    health.window = (health.window + 1) % PROPORTION_WINDOW;
    return health.proportion < PROPORTION_CUTOFF;
}

/* Every sample goes through both tests. */
static bool noise(uint8_t *samples, size_t count)
{
    for (size_t i = 0; i < count && !health.has_failed; i++) {
        uint8_t sample = 0;
        bool came = board_noise(&sample);
        bool repeats = !repetition_count_holds(sample);
        if (!came || !adaptive_proportion_holds(sample) || repeats) health.has_failed = true;
        if (samples != NULL) samples[i] = sample;
    }
    return !health.has_failed;
}

bool entropy_start(void)
{
    uint8_t seed[SEED_SAMPLES + UID_BYTES];
    if (!noise(NULL, STARTUP_SAMPLES) || !noise(seed, SEED_SAMPLES)) return false;
    /* The UID is the personalization string (SP 800-90A 8.7.1). */
    memcpy(seed + SEED_SAMPLES, board_uid(), UID_BYTES);
    br_hmac_drbg_init(&drbg, &br_sha256_vtable, seed, sizeof seed);
    memset(seed, 0, sizeof seed);
    return true;
}

br_hmac_drbg_context *entropy_fresh(void)
{
    uint8_t seed[RESEED_SAMPLES];
    if (!noise(seed, sizeof seed)) return NULL;
    br_hmac_drbg_update(&drbg, seed, sizeof seed);
    memset(seed, 0, sizeof seed);
    return &drbg;
}
