/* DevAuth, version 1 (docs/devauth.md): the device's side in stage 0, in SRAM. */
#ifndef DEVAUTH_H
#define DEVAUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbor.h"

/* Longest map that is taken (HELLO 10), and room for a message around it: prefix 5, header 8, CRC 4. A little more, so that a map that is too
 * long can be refused by what it says. */
enum { MAX_BODY_BYTES = 1024, MESSAGE_BYTES = MAX_BODY_BYTES + 64, ANSWER_BYTES = 256 };

/* Results, key 0 of a response (3). */
enum result {
    OK = 0,
    BAD_CBOR = 2,
    BAD_STATE = 3,
    BAD_ARG = 4,
    UNAUTHENTICATED = 5,
    OTP_USED = 7,
    OTP_VERIFY = 8,
    TOO_BIG = 12,
    ENTROPY = 15,
    POLICY = 16
};

/* Ops (2) and commands (5). */
enum { OP_READ = 0, OP_WRITE = 2 };
enum command { HELLO = 0, KEYGEN = 1, SIGN_CRI = 2, PUT = 3, OTP = 4, FW_BEGIN = 5, FW_CHUNK = 6, FW_END = 7, LOCK = 8, RECEIPT = 9, RESET = 12, WIPE = 13, DEBUG_UNLOCK = 14 };

/* Executes a command whose body is a deterministic map. Writes the response's map only when the result is OK. */
enum result command_execute(unsigned command, unsigned op, struct cbor_in body, struct cbor_out *out);

/* Whether RESET was answered: the chip is reset when the answer has left. */
bool command_wants_reset(void);

/* Answers one vendor-defined message (4). Returns the length of the answer; 0 for what gets none. */
size_t devauth_respond(const uint8_t *message, size_t length, bool is_cut, uint8_t answer[ANSWER_BYTES]);

#endif
