/* MCTP (DSP0236) in frames of a serial line (DSP0253). */
#ifndef MCTP_H
#define MCTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mctp_message {
    uint8_t *data;
    size_t length;
    /* The message was longer than the buffer: `length` bytes of it are there. */
    bool is_cut;
    uint8_t source;
    uint8_t tag;
};

/* Takes one byte of the line. True when it completes a request to this endpoint; its data stay until the next call. */
bool mctp_take(uint8_t byte, struct mctp_message *message);

/* Sends an answer to a request. */
void mctp_answer(const struct mctp_message *request, const uint8_t *data, size_t length);

#endif
