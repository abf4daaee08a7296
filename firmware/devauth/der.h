/* Strict DER (X.690), as much as a certification request and a certificate need. */
#ifndef DER_H
#define DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct der {
    const uint8_t *at;
    const uint8_t *end;
};

/* Whether this CertificationRequestInfo (RFC 2986 4.1) is for this UID and this public key (04 | X | Y), and for nothing else (T28). */
bool der_request_is_for(const uint8_t *der, size_t length, const uint8_t *uid, const uint8_t *point);

/* Whether this is a certificate (RFC 5280 4.1), as far as its frame goes. */
bool der_is_certificate(const uint8_t *der, size_t length);

/* Whether this certificate is for this UID and this public key. */
bool der_certificate_is_for(const uint8_t *der, size_t length, const uint8_t *uid, const uint8_t *point);

#endif
