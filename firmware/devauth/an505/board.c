/* QEMU's mps2-an505 (Cortex-M33 of Arm's Application Note AN505) as a chip. Its non-volatile memories are pages of the board's PSRAM, which
 * QEMU keeps in a file (docs/cortex-m.md). */
#include "../board.h"

#include <string.h>

/* Secure alias of UART 0 (AN505, memory map), the link to the host. */
#define UART_LINK ((volatile struct uart *)0x50200000u)
/* Control, reload value, current value (Armv8-M ARM, DDI0553, D1.2.238). */
#define SYSTICK ((volatile uint32_t *)0xe000e010u)
#define INTERRUPT_ENABLE_1 (*(volatile uint32_t *)0xe000e104u)
#define INTERRUPT_CLEAR_1 (*(volatile uint32_t *)0xe000e284u)
#define ICSR (*(volatile uint32_t *)0xe000ed04u)
#define ICSR_CLEAR_SYSTICK 0x02000000u
#define AIRCR (*(volatile uint32_t *)0xe000ed0cu)
#define AIRCR_RESET 0x05fa0004u

/* CMSDK APB UART (DDI0479 4.3). */
struct uart {
    uint32_t data, state, control, interrupt, divider;
};
enum { TX_FULL = 1, RX_FULL = 2, TX_ENABLE = 1, RX_ENABLE = 2, RX_INTERRUPT_ENABLE = 8, RX_INTERRUPT = 2 };
/* Receive interrupt of UART 0 is number 32: bit 0 of the second word. */
enum { LINK_INTERRUPT_BIT = 1 };
enum { SYSTICK_ON = 7, SYSTICK_HAS_COUNTED = 1 << 16, TICK_CYCLES = 20 * 10000 };
/* 20 MHz / 115200. */
enum { DIVIDER = 174 };
/* Ticks of 10 ms until a noise source that gives nothing counts as dead. */
enum { NOISE_PATIENCE_TICKS = 200 };

struct fuses {
    uint8_t uid[UID_BYTES];
    uint32_t product_id, life_cycle, debug_state;
};
struct otp {
    uint8_t slot[OTP_SLOTS][OTP_SLOT_BYTES];
    uint8_t mask;
};
struct key {
    uint32_t mark;
    uint8_t scalar[SCALAR_BYTES];
    uint8_t point[POINT_BYTES];
};
struct object {
    uint32_t mark;
    uint32_t length;
    uint8_t data[];
};
#define FUSES ((const volatile struct fuses *)0x80000000u)
#define ONE_TIME ((struct otp *)0x80001000u)
#define KEY_STORE ((struct key *)0x80002000u)
/* Samples of the noise source, from the host: a ring, written at `head` and taken at `tail`. */
struct noise {
    uint32_t head, tail;
    uint8_t samples[32768];
};
#define NOISE ((volatile struct noise *)0x80f00000u)
#define OBJECTS 0x80010000u
enum { OBJECT_STRIDE = 0x2000, LAST_SMALL_OBJECT = 5, BUNDLE_BYTES = 65536 };
/* "NuSE": the page is written completely. */
enum { WRITTEN = 0x4e755345 };

/* The mark is written last, so that a power cut leaves all or nothing. */
#define BARRIER() __asm__ volatile("dsb" ::: "memory")

void board_init(void)
{
    /* Interrupts are masked (start.c): a pending one ends a sleep, and is never taken. */
    SYSTICK[0] = 0;
    ICSR = ICSR_CLEAR_SYSTICK;
    UART_LINK->divider = DIVIDER;
    UART_LINK->control = TX_ENABLE | RX_ENABLE | RX_INTERRUPT_ENABLE;
    INTERRUPT_ENABLE_1 = LINK_INTERRUPT_BIT;
}

uint8_t board_uart_read(void)
{
    while ((UART_LINK->state & RX_FULL) == 0) __asm__ volatile("wfi");
    uint8_t byte = (uint8_t)UART_LINK->data;
    UART_LINK->interrupt = RX_INTERRUPT;
    INTERRUPT_CLEAR_1 = LINK_INTERRUPT_BIT;
    return byte;
}

void board_uart_write(uint8_t byte)
{
    while ((UART_LINK->state & TX_FULL) != 0) {}
    UART_LINK->data = byte;
}

bool board_noise(uint8_t *sample)
{
    unsigned ticks = 0;
    SYSTICK[1] = TICK_CYCLES - 1;
    SYSTICK[2] = 0;
    SYSTICK[0] = SYSTICK_ON;
    while (NOISE->tail == NOISE->head && ticks < NOISE_PATIENCE_TICKS) {
        __asm__ volatile("wfi");
        ICSR = ICSR_CLEAR_SYSTICK;
        if ((SYSTICK[0] & SYSTICK_HAS_COUNTED) != 0) ticks++;
    }
    SYSTICK[0] = 0;
    ICSR = ICSR_CLEAR_SYSTICK;
    if (NOISE->tail == NOISE->head) return false;
    *sample = NOISE->samples[NOISE->tail % sizeof NOISE->samples];
    NOISE->tail++;
    return true;
}

const uint8_t *board_uid(void) { return (const uint8_t *)FUSES; }
uint32_t board_product_id(void) { return FUSES->product_id; }
uint8_t board_life_cycle(void) { return (uint8_t)FUSES->life_cycle; }
uint8_t board_debug_state(void) { return (uint8_t)FUSES->debug_state; }

const uint8_t *board_otp(unsigned slot) { return ONE_TIME->slot[slot]; }
uint8_t board_otp_mask(void) { return ONE_TIME->mask; }

void board_otp_set_bits(unsigned slot, const uint8_t value[OTP_SLOT_BYTES])
{
    for (unsigned i = 0; i < OTP_SLOT_BYTES; i++) ONE_TIME->slot[slot][i] |= value[i];
    BARRIER();
}

void board_otp_close(unsigned slot)
{
    ONE_TIME->mask |= (uint8_t)(1u << slot);
    BARRIER();
}

const uint8_t *board_key_point(enum board_key key) { return KEY_STORE[key].mark == WRITTEN ? KEY_STORE[key].point : NULL; }
const uint8_t *board_key_scalar(enum board_key key) { return KEY_STORE[key].scalar; }

void board_key_store(enum board_key key, const uint8_t scalar[SCALAR_BYTES], const uint8_t point[POINT_BYTES])
{
    memcpy(KEY_STORE[key].scalar, scalar, SCALAR_BYTES);
    memcpy(KEY_STORE[key].point, point, POINT_BYTES);
    BARRIER();
    KEY_STORE[key].mark = WRITTEN;
    BARRIER();
}

static struct object *object(unsigned type) { return (struct object *)(OBJECTS + (type - 1) * OBJECT_STRIDE); }

size_t board_object_capacity(unsigned type) { return type <= LAST_SMALL_OBJECT ? OBJECT_STRIDE - sizeof(struct object) : BUNDLE_BYTES; }

const uint8_t *board_object(unsigned type, size_t *length)
{
    const struct object *stored = object(type);
    if (stored->mark != WRITTEN) return NULL;
    *length = stored->length;
    return stored->data;
}

void board_object_begin(unsigned type)
{
    object(type)->mark = 0;
    BARRIER();
}

void board_object_write(unsigned type, size_t offset, const uint8_t *data, size_t length) { memcpy(object(type)->data + offset, data, length); }

const uint8_t *board_object_staged(unsigned type) { return object(type)->data; }

void board_object_finish(unsigned type, size_t length)
{
    object(type)->length = (uint32_t)length;
    BARRIER();
    object(type)->mark = WRITTEN;
    BARRIER();
}

void board_reset(void)
{
    while ((UART_LINK->state & TX_FULL) != 0) {}
    AIRCR = AIRCR_RESET;
    for (;;) {}
}
