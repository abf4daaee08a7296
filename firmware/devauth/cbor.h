/* Deterministic CBOR (RFC 8949 4.2.1), as much as DevAuth needs. */
#ifndef CBOR_H
#define CBOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cbor_in {
    const uint8_t *at;
    const uint8_t *end;
};

/* Whether this is one deterministic item, nested at most `depth` deep, and nothing after it. */
bool cbor_check(const uint8_t *data, size_t length, unsigned depth);

/* The readers below work on checked input. Each returns false for an item of another kind, and then the input is of no further use. */
bool cbor_map(struct cbor_in *in, uint32_t *pairs);
bool cbor_uint(struct cbor_in *in, uint32_t max, uint32_t *value);
/* A negative number: -1 - argument. */
bool cbor_negative(struct cbor_in *in, uint32_t *argument);
bool cbor_bytes(struct cbor_in *in, size_t min, size_t max, const uint8_t **data, size_t *length);
/* Whether the next item is this key; it is passed then. */
bool cbor_key(struct cbor_in *in, uint32_t key);

struct cbor_out {
    uint8_t *at;
    uint8_t *end;
    bool failed;
};

void cbor_put_map(struct cbor_out *out, uint32_t pairs);
void cbor_put_array(struct cbor_out *out, uint32_t items);
void cbor_put_uint(struct cbor_out *out, uint32_t value);
void cbor_put_bytes(struct cbor_out *out, const uint8_t *data, size_t length);

#endif
