#include "der.h"

#include <string.h>

#include "board.h"

enum { INTEGER = 0x02, BIT_STRING = 0x03, OID = 0x06, UTF8_STRING = 0x0c, PRINTABLE = 0x13, SEQUENCE = 0x30, SET = 0x31, CONTEXT_0 = 0xa0 };

/* Attribute types of a name, all below 2.5.4 (X.520): commonName, serialNumber, country, organization, organizationalUnit. */
enum { COMMON_NAME = 3, SERIAL_NUMBER = 5, COUNTRY = 6, ORGANIZATION = 10, UNIT = 11 };

/* SubjectPublicKeyInfo of a P-256 key up to the point (RFC 5480): id-ecPublicKey, prime256v1, BIT STRING without unused bits. */
static const uint8_t p256[] = { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
                                0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00 };

/* Takes the next element; lengths are definite and shortest (X.690 10.1). */
static bool next(struct der *in, uint8_t *tag, struct der *content)
{
    if (in->end - in->at < 2) return false;
    *tag = *in->at++;
    size_t length = *in->at++;
    if (length >= 0x80) {
        unsigned bytes = length & 0x7f;
        if (bytes == 0 || bytes > 2 || (size_t)(in->end - in->at) < bytes) return false;
        length = 0;
        for (unsigned i = 0; i < bytes; i++) length = length << 8 | *in->at++;
        if (length < (bytes == 1 ? 0x80u : 0x100u)) return false;
    }
    if ((size_t)(in->end - in->at) < length) return false;
    content->at = in->at;
    content->end = in->at += length;
    return true;
}

static bool enter(struct der *in, uint8_t wanted, struct der *content)
{
    uint8_t tag;
    return next(in, &tag, content) && tag == wanted;
}

static bool is_empty(const struct der *in) { return in->at == in->end; }

/* One SEQUENCE that fills the input. */
static bool only_sequence(const uint8_t *der, size_t length, struct der *content)
{
    struct der in = { der, der + length };
    return enter(&in, SEQUENCE, content) && is_empty(&in);
}

/* The UID as it stands in a name: 32 lower-case hex digits. */
static bool is_uid_text(const struct der *text, const uint8_t *uid)
{
    static const char digits[] = "0123456789abcdef";
    if (text->end - text->at != 2 * UID_BYTES) return false;
    for (unsigned i = 0; i < 2 * UID_BYTES; i++) {
        unsigned digit = i % 2 == 0 ? uid[i / 2] >> 4 : uid[i / 2] & 0x0f;
        if (text->at[i] != (uint8_t)digits[digit]) return false;
    }
    return true;
}

/* One RelativeDistinguishedName with one attribute. Sets the bit of its type in `seen`; none may come twice, and no unknown one. */
static bool attribute(struct der *name, const uint8_t *uid, uint32_t *seen)
{
    struct der set, pair, type, value;
    uint8_t tag;
    if (!enter(name, SET, &set) || !enter(&set, SEQUENCE, &pair) || !is_empty(&set)) return false;
    if (!enter(&pair, OID, &type) || !next(&pair, &tag, &value) || !is_empty(&pair)) return false;
    if (tag != PRINTABLE && tag != UTF8_STRING) return false;
    if (type.end - type.at != 3 || type.at[0] != 0x55 || type.at[1] != 0x04) return false;
    unsigned kind = type.at[2];
    bool is_known = kind == COMMON_NAME || kind == SERIAL_NUMBER || kind == COUNTRY || kind == ORGANIZATION || kind == UNIT;
    if (!is_known || (*seen & 1u << kind) != 0) return false;
    *seen |= 1u << kind;
    return kind != SERIAL_NUMBER || is_uid_text(&value, uid);
}

static bool name_is_of(struct der *in, const uint8_t *uid)
{
    struct der name;
    uint32_t seen = 0;
    if (!enter(in, SEQUENCE, &name)) return false;
    while (!is_empty(&name))
        if (!attribute(&name, uid, &seen)) return false;
    return (seen & 1u << SERIAL_NUMBER) != 0;
}

static bool key_is(struct der *in, const uint8_t *point)
{
    if ((size_t)(in->end - in->at) < sizeof p256 + POINT_BYTES) return false;
    if (memcmp(in->at, p256, sizeof p256) != 0 || memcmp(in->at + sizeof p256, point, POINT_BYTES) != 0) return false;
    in->at += sizeof p256 + POINT_BYTES;
    return true;
}

/* Attributes: [0] IMPLICIT SET OF SEQUENCE. What they ask for is the authority's business. */
static bool attributes(struct der *in)
{
    struct der set, each;
    if (!enter(in, CONTEXT_0, &set)) return false;
    while (!is_empty(&set))
        if (!enter(&set, SEQUENCE, &each)) return false;
    return true;
}

bool der_request_is_for(const uint8_t *der, size_t length, const uint8_t *uid, const uint8_t *point)
{
    struct der info, version;
    if (!only_sequence(der, length, &info) || !enter(&info, INTEGER, &version)) return false;
    if (version.end - version.at != 1 || *version.at != 0) return false;
    return name_is_of(&info, uid) && key_is(&info, point) && attributes(&info) && is_empty(&info);
}

/* Certificate: tbsCertificate, signatureAlgorithm, signature. `tbs` stands behind version, number, algorithm, issuer and validity. */
static bool certificate(const uint8_t *der, size_t length, struct der *tbs)
{
    struct der all, part;
    if (!only_sequence(der, length, &all) || !enter(&all, SEQUENCE, tbs) || !enter(&all, SEQUENCE, &part)) return false;
    if (!enter(&all, BIT_STRING, &part) || !is_empty(&all)) return false;
    return enter(tbs, CONTEXT_0, &part) && enter(tbs, INTEGER, &part) && enter(tbs, SEQUENCE, &part) && enter(tbs, SEQUENCE, &part) &&
           enter(tbs, SEQUENCE, &part);
}

bool der_is_certificate(const uint8_t *der, size_t length)
{
    struct der tbs;
    return certificate(der, length, &tbs);
}

bool der_certificate_is_for(const uint8_t *der, size_t length, const uint8_t *uid, const uint8_t *point)
{
    struct der tbs;
    return certificate(der, length, &tbs) && name_is_of(&tbs, uid) && key_is(&tbs, point);
}
