#include "devauth.h"

#include <bearssl.h>
#include <string.h>

/* Vendor-defined message with integrity check (4): FF | enterprise number, big endian | message | CRC-32C, little endian. */
static const uint8_t prefix[] = { 0xff, 0x00, 0x00, 0x7e, 0xd9 };
enum { PREFIX_BYTES = sizeof prefix, CRC_BYTES = 4, HEADER_BYTES = 8 };
/* Header (2): op, flags, length, group, sequence, command. */
enum { AT_OP = 0, AT_FLAGS = 1, AT_LENGTH = 2, AT_GROUP = 4, AT_COMMAND = 7, GROUP = 64 };
enum { MAX_DEPTH = 4, HASH_BYTES = br_sha256_SIZE };

/* CRC-32C: reflected polynomial, initial and final FFFFFFFF (RFC 3720 12.1). */
static uint32_t crc32c(const uint8_t *data, size_t length)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

static void put_crc(uint8_t *at, uint32_t crc)
{
    for (int i = 0; i < CRC_BYTES; i++) at[i] = (uint8_t)(crc >> 8 * i);
}

/* The exchange before: the same bytes again get the same answer, and nothing is done twice (2). */
static struct {
    uint8_t request[HASH_BYTES];
    uint8_t answer[ANSWER_BYTES];
    size_t length;
} last;

static bool is_intact(const uint8_t *message, size_t length)
{
    uint8_t crc[CRC_BYTES];
    if (length < PREFIX_BYTES + HEADER_BYTES + CRC_BYTES) return false;
    put_crc(crc, crc32c(message, length - CRC_BYTES));
    return memcmp(message + length - CRC_BYTES, crc, CRC_BYTES) == 0;
}

/* Frames the response to the request in `head`. */
static size_t frame(const uint8_t *head, size_t body_length, uint8_t *answer)
{
    uint8_t *out = answer + PREFIX_BYTES;
    memcpy(answer, prefix, PREFIX_BYTES);
    memcpy(out, head, HEADER_BYTES);
    out[AT_OP]++;
    out[AT_LENGTH] = (uint8_t)(body_length >> 8);
    out[AT_LENGTH + 1] = (uint8_t)body_length;
    size_t length = PREFIX_BYTES + HEADER_BYTES + body_length;
    put_crc(answer + length, crc32c(answer, length));
    return length + CRC_BYTES;
}

static size_t execute(const uint8_t *head, size_t body_length, bool is_cut, uint8_t *body_out)
{
    const uint8_t *body = head + HEADER_BYTES;
    struct cbor_out out = { body_out, body_out + ANSWER_BYTES - PREFIX_BYTES - HEADER_BYTES - CRC_BYTES, false };
    enum result result = OK;
    if (is_cut || body_length > MAX_BODY_BYTES) result = TOO_BIG;
    else if (!cbor_check(body, body_length, MAX_DEPTH)) result = BAD_CBOR;
    else result = command_execute(head[AT_COMMAND], head[AT_OP], (struct cbor_in){ body, body + body_length }, &out);
    if (result == OK && out.failed) result = TOO_BIG;
    if (result != OK) {
        out = (struct cbor_out){ body_out, out.end, false };
        cbor_put_map(&out, 1);
        cbor_put_uint(&out, 0);
        cbor_put_uint(&out, result);
    }
    return (size_t)(out.at - body_out);
}

size_t devauth_respond(const uint8_t *message, size_t length, bool is_cut, uint8_t answer[ANSWER_BYTES])
{
    if (length < PREFIX_BYTES + HEADER_BYTES || memcmp(message, prefix, PREFIX_BYTES) != 0) return 0;
    /* The CRC of a message that was cut is gone; it is refused anyway. */
    if (!is_cut && !is_intact(message, length)) return 0;
    const uint8_t *head = message + PREFIX_BYTES;
    size_t body_length = (size_t)head[AT_LENGTH] << 8 | head[AT_LENGTH + 1];
    if (head[AT_FLAGS] != 0 || (head[AT_GROUP] << 8 | head[AT_GROUP + 1]) != GROUP) return 0;
    if (head[AT_OP] != OP_READ && head[AT_OP] != OP_WRITE) return 0;
    if (!is_cut && body_length != length - PREFIX_BYTES - HEADER_BYTES - CRC_BYTES) return 0;

    uint8_t hash[HASH_BYTES];
    br_sha256_context sha;
    br_sha256_init(&sha);
    br_sha256_update(&sha, message, length);
    br_sha256_out(&sha, hash);
    if (last.length == 0 || memcmp(hash, last.request, HASH_BYTES) != 0) {
        memcpy(last.request, hash, HASH_BYTES);
        last.length = frame(head, execute(head, body_length, is_cut, last.answer + PREFIX_BYTES + HEADER_BYTES), last.answer);
    }
    memcpy(answer, last.answer, last.length);
    return last.length;
}
