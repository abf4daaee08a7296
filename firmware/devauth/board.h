/* What a board gives to the DevAuth code. One file per board implements it (an505/board.c). */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UID_BYTES = 16, OTP_SLOTS = 8, OTP_SLOT_BYTES = 32, SCALAR_BYTES = 32, POINT_BYTES = 65 };

/* Min-entropy that is claimed for one byte of the noise source (SP 800-90B 3.1.3); the cutoffs in entropy.c follow from it. */
enum { NOISE_BITS_PER_SAMPLE = 4 };

void board_init(void);

/* Waits for a byte of the UART. */
uint8_t board_uart_read(void);
void board_uart_write(uint8_t byte);

/* One raw sample of the noise source, not conditioned. False when none comes in time. */
bool board_noise(uint8_t *sample);

/* Fuses. */
const uint8_t *board_uid(void);
uint32_t board_product_id(void);
uint8_t board_life_cycle(void);
uint8_t board_debug_state(void);

/* One-time-programmable memory: bits go from 0 to 1 once. */
const uint8_t *board_otp(unsigned slot);
uint8_t board_otp_mask(void);
void board_otp_set_bits(unsigned slot, const uint8_t value[OTP_SLOT_BYTES]);
void board_otp_close(unsigned slot);

/* KeyStore: the key that signs, and the one that images are encrypted for. The public point is 04 | X | Y; NULL while there is no key. */
enum board_key { AUTH_KEY, ENCRYPTION_KEY };
const uint8_t *board_key_point(enum board_key key);
const uint8_t *board_key_scalar(enum board_key key);
void board_key_store(enum board_key key, const uint8_t scalar[SCALAR_BYTES], const uint8_t point[POINT_BYTES]);

/* Data flash: one object of each PUT type. It counts only when it was finished. */
size_t board_object_capacity(unsigned type);
const uint8_t *board_object(unsigned type, size_t *length);
void board_object_begin(unsigned type);
void board_object_write(unsigned type, size_t offset, const uint8_t *data, size_t length);
const uint8_t *board_object_staged(unsigned type);
void board_object_finish(unsigned type, size_t length);

/* Resets the chip after the last byte has left the UART. */
_Noreturn void board_reset(void);

#endif
