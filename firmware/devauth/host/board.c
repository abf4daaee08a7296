/* The DevAuth code as a program of this machine, for fuzzing under sanitizers: the UART is standard input and output, memories end with it. */
#include "../board.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OBJECT_TYPES = 6, OBJECT_BYTES = 65536 };

static const uint8_t uid[UID_BYTES] = { 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33 };
static uint8_t otp[OTP_SLOTS][OTP_SLOT_BYTES], otp_mask;
static struct {
    bool is_there;
    uint8_t scalar[SCALAR_BYTES], point[POINT_BYTES];
} keys[2];
static struct {
    size_t length;
    uint8_t *data;
} objects[OBJECT_TYPES + 1];
static FILE *noise;

void board_init(void)
{
    noise = fopen("/dev/urandom", "rb");
    /* Each on the heap by itself, so that a step over its end is seen. */
    for (unsigned type = 1; type <= OBJECT_TYPES; type++) objects[type].data = malloc(OBJECT_BYTES);
}

uint8_t board_uart_read(void)
{
    fflush(stdout);
    int byte = getchar();
    if (byte == EOF) exit(0);
    return (uint8_t)byte;
}

void board_uart_write(uint8_t byte) { putchar(byte); }

bool board_noise(uint8_t *sample) { return noise != NULL && fread(sample, 1, 1, noise) == 1; }

const uint8_t *board_uid(void) { return uid; }
uint32_t board_product_id(void) { return 1; }
uint8_t board_life_cycle(void) { return 0; }
uint8_t board_debug_state(void) { return 0; }

const uint8_t *board_otp(unsigned slot) { return otp[slot]; }
uint8_t board_otp_mask(void) { return otp_mask; }

void board_otp_set_bits(unsigned slot, const uint8_t value[OTP_SLOT_BYTES])
{
    for (unsigned i = 0; i < OTP_SLOT_BYTES; i++) otp[slot][i] |= value[i];
}

void board_otp_close(unsigned slot) { otp_mask |= (uint8_t)(1u << slot); }

const uint8_t *board_key_point(enum board_key key) { return keys[key].is_there ? keys[key].point : NULL; }
const uint8_t *board_key_scalar(enum board_key key) { return keys[key].scalar; }

void board_key_store(enum board_key key, const uint8_t scalar[SCALAR_BYTES], const uint8_t point[POINT_BYTES])
{
    memcpy(keys[key].scalar, scalar, SCALAR_BYTES);
    memcpy(keys[key].point, point, POINT_BYTES);
    keys[key].is_there = true;
}

size_t board_object_capacity(unsigned type) { return type < OBJECT_TYPES ? 8192 : OBJECT_BYTES; }

const uint8_t *board_object(unsigned type, size_t *length)
{
    *length = objects[type].length;
    return objects[type].length > 0 ? objects[type].data : NULL;
}

void board_object_begin(unsigned type) { objects[type].length = 0; }
void board_object_write(unsigned type, size_t offset, const uint8_t *data, size_t length) { memcpy(objects[type].data + offset, data, length); }
const uint8_t *board_object_staged(unsigned type) { return objects[type].data; }
void board_object_finish(unsigned type, size_t length) { objects[type].length = length; }

_Noreturn void board_reset(void)
{
    fflush(stdout);
    exit(0);
}
