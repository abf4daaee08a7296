#include "cbor.h"

#include <string.h>

/* Major types and simple values (RFC 8949 3.1, 3.3). */
enum { UNSIGNED = 0, NEGATIVE = 1, BYTES = 2, TEXT = 3, ARRAY = 4, MAP = 5, TAG = 6, SIMPLE = 7 };
enum { SIMPLE_FALSE = 0xf4, SIMPLE_NULL = 0xf6 };

/* A head: major type and argument. Only the shortest form is taken (4.2.1); nothing here needs an argument beyond 32 bits. */
static bool head(struct cbor_in *in, unsigned *major, uint32_t *argument)
{
    if (in->at == in->end) return false;
    uint8_t first = *in->at++;
    *major = first >> 5;
    unsigned info = first & 0x1f;
    if (*major == SIMPLE) {
        *argument = first;
        return first >= SIMPLE_FALSE && first <= SIMPLE_NULL;
    }
    if (info < 24) {
        *argument = info;
        return true;
    }
    if (info > 26) return false;
    unsigned bytes = 1u << (info - 24);
    if ((size_t)(in->end - in->at) < bytes) return false;
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes; i++) value = value << 8 | *in->at++;
    *argument = value;
    return value >= (bytes == 1 ? 24u : bytes == 2 ? 0x100u : 0x10000u);
}

static bool item(struct cbor_in *in, unsigned depth);

/* Keys are integers or texts in bytewise order, none twice (4.2.1, 5.6). */
static bool map_pairs(struct cbor_in *in, uint32_t pairs, unsigned depth)
{
    const uint8_t *before = NULL;
    size_t before_length = 0;
    while (pairs-- > 0) {
        const uint8_t *key = in->at;
        if (in->at == in->end || (*key >> 5 > NEGATIVE && *key >> 5 != TEXT) || !item(in, 0)) return false;
        size_t length = (size_t)(in->at - key);
        if (before != NULL) {
            int order = memcmp(before, key, before_length < length ? before_length : length);
            if (order > 0 || (order == 0 && before_length >= length)) return false;
        }
        before = key;
        before_length = length;
        if (!item(in, depth)) return false;
    }
    return true;
}

/* Recursion ends with `depth`. */
static bool item(struct cbor_in *in, unsigned depth)
{
    unsigned major;
    uint32_t argument;
    if (!head(in, &major, &argument)) return false;
    size_t rest = (size_t)(in->end - in->at);
    switch (major) {
    case BYTES:
    case TEXT:
        if (argument > rest) return false;
        in->at += argument;
        return true;
    case ARRAY:
        if (depth == 0 || argument > rest) return false;
        while (argument-- > 0)
            if (!item(in, depth - 1)) return false;
        return true;
    case MAP:
        return depth > 0 && argument <= rest / 2 && map_pairs(in, argument, depth - 1);
    case TAG:
        return depth > 0 && item(in, depth - 1);
    default:
        return true;
    }
}

bool cbor_check(const uint8_t *data, size_t length, unsigned depth)
{
    struct cbor_in in = { data, data + length };
    return item(&in, depth) && in.at == in.end;
}

static bool expect(struct cbor_in *in, unsigned wanted, uint32_t *argument)
{
    unsigned major;
    return head(in, &major, argument) && major == wanted;
}

bool cbor_map(struct cbor_in *in, uint32_t *pairs) { return expect(in, MAP, pairs); }

bool cbor_uint(struct cbor_in *in, uint32_t max, uint32_t *value) { return expect(in, UNSIGNED, value) && *value <= max; }

bool cbor_negative(struct cbor_in *in, uint32_t *argument) { return expect(in, NEGATIVE, argument); }

bool cbor_bytes(struct cbor_in *in, size_t min, size_t max, const uint8_t **data, size_t *length)
{
    uint32_t argument;
    if (!expect(in, BYTES, &argument) || argument > (size_t)(in->end - in->at)) return false;
    *data = in->at;
    *length = argument;
    in->at += argument;
    return argument >= min && argument <= max;
}

bool cbor_key(struct cbor_in *in, uint32_t key)
{
    struct cbor_in ahead = *in;
    uint32_t value;
    if (!cbor_uint(&ahead, UINT32_MAX, &value) || value != key) return false;
    *in = ahead;
    return true;
}

static void put(struct cbor_out *out, const uint8_t *data, size_t length)
{
    if (out->failed || (size_t)(out->end - out->at) < length) {
        out->failed = true;
        return;
    }
    memcpy(out->at, data, length);
    out->at += length;
}

static void put_head(struct cbor_out *out, unsigned major, uint32_t argument)
{
    uint8_t bytes[5];
    unsigned extra = argument < 24 ? 0 : argument <= 0xff ? 1 : argument <= 0xffff ? 2 : 4;
    unsigned info = extra == 0 ? argument : extra == 1 ? 24 : extra == 2 ? 25 : 26;
    bytes[0] = (uint8_t)(major << 5 | info);
    for (unsigned i = 0; i < extra; i++) bytes[1 + i] = (uint8_t)(argument >> 8 * (extra - 1 - i));
    put(out, bytes, 1 + extra);
}

void cbor_put_map(struct cbor_out *out, uint32_t pairs) { put_head(out, MAP, pairs); }

void cbor_put_array(struct cbor_out *out, uint32_t items) { put_head(out, ARRAY, items); }

void cbor_put_uint(struct cbor_out *out, uint32_t value) { put_head(out, UNSIGNED, value); }

void cbor_put_bytes(struct cbor_out *out, const uint8_t *data, size_t length)
{
    put_head(out, BYTES, (uint32_t)length);
    put(out, data, length);
}
