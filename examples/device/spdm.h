/* A responder of SPDM 1.2 (DSP0274) with P-256 and SHA-256: certificates, challenge, signed measurements; no sessions. For an example: a product takes
 * libspdm (https://github.com/DMTF/libspdm), and a key that never leaves its hardware. */
#ifndef SPDM_H
#define SPDM_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPDM_HASH_BYTES 32
#define SPDM_MAX_MESSAGE_BYTES 4096
#define SPDM_MAX_TRANSCRIPT_BYTES 16384

struct spdm_bytes {
  uint8_t bytes[SPDM_MAX_TRANSCRIPT_BYTES];
  size_t length;
  bool is_cut; /* something had no room */
};

struct spdm {
  EVP_PKEY *key;
  struct spdm_bytes chain; /* as GET_CERTIFICATE gives it: length, hash of the root, root, issuing CA, leaf */
  struct spdm_bytes block; /* the one measurement: index 2, hash of the image that runs */
  struct spdm_bytes vca, identity, measured;
};

/* Reads root.pem, device.pem (leaf, issuing CA) and device.key of a folder. @returns false when one of them cannot be read */
bool spdm_open(struct spdm *spdm, const char *folder, const uint8_t image_hash[SPDM_HASH_BYTES]);

/* One request, one answer (DSP0274 §10). */
void spdm_answer(struct spdm *spdm, const uint8_t *request, size_t length, struct spdm_bytes *response);

#endif
