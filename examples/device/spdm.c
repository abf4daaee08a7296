#include "spdm.h"

#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

enum { VERSION = 0x12, ERROR = 0x7f, INVALID_REQUEST = 0x01, UNSPECIFIED = 0x05, UNSUPPORTED_REQUEST = 0x07 };
enum { GET_DIGESTS = 0x81, GET_CERTIFICATE = 0x82, CHALLENGE = 0x83, GET_VERSION = 0x84 };
enum { GET_MEASUREMENTS = 0xe0, GET_CAPABILITIES = 0xe1, NEGOTIATE_ALGORITHMS = 0xe3 };
enum { CAPABILITIES = 0x02 | 0x04 | 0x10 | 0x20 }; /* certificates, challenge, signed and fresh measurements */
enum { NONCE_BYTES = 32, PREFIX_BYTES = 100, COORDINATE_BYTES = 32, MEASUREMENT_INDEX = 2, ALL = 0xff };

static void put(struct spdm_bytes *to, const void *bytes, size_t length) {
  if (length > sizeof to->bytes - to->length) {
    to->is_cut = true;
    return;
  }
  memcpy(to->bytes + to->length, bytes, length);
  to->length += length;
}

static void put_all(struct spdm_bytes *to, const struct spdm_bytes *from) { put(to, from->bytes, from->length); }

/* Little endian. */
static void put_number(struct spdm_bytes *to, uint32_t value, size_t width) {
  for (size_t i = 0; i < width; i += 1) put(to, &(uint8_t){(uint8_t)(value >> 8 * i)}, 1);
}

static void put_head(struct spdm_bytes *to, uint8_t code, uint8_t param1, uint8_t param2) {
  put(to, (uint8_t[]){VERSION, code, param1, param2}, 4);
}

static void put_hash(struct spdm_bytes *to, const struct spdm_bytes *of) {
  uint8_t hash[SPDM_HASH_BYTES];
  SHA256(of->bytes, of->length, hash);
  put(to, hash, sizeof hash);
}

static void put_nonce(struct spdm_bytes *to) {
  uint8_t nonce[NONCE_BYTES];
  if (RAND_bytes(nonce, sizeof nonce) != 1) to->is_cut = true;
  put(to, nonce, sizeof nonce);
}

static void clear(struct spdm_bytes *bytes) {
  bytes->length = 0;
  bytes->is_cut = false;
}

static uint32_t number_at(const uint8_t *at) { return (uint32_t)at[0] | (uint32_t)at[1] << 8; }

/* DSP0274 §15: P-256 over the prefix of this version, the context and the hash of the transcript. Appends r and s. */
static void put_signature(struct spdm_bytes *to, EVP_PKEY *key, const char *context, const struct spdm_bytes *transcript) {
  uint8_t message[PREFIX_BYTES + SPDM_HASH_BYTES] = {0}, der[128], raw[2 * COORDINATE_BYTES];
  size_t der_bytes = sizeof der;
  for (size_t i = 0; i < 4; i += 1) memcpy(message + 16 * i, "dmtf-spdm-v1.2.*", 16);
  memcpy(message + PREFIX_BYTES - strlen(context), context, strlen(context));
  SHA256(transcript->bytes, transcript->length, message + PREFIX_BYTES);
  EVP_MD_CTX *signing = EVP_MD_CTX_new();
  const bool is_signed = signing != NULL && EVP_DigestSignInit(signing, NULL, EVP_sha256(), NULL, key) == 1 &&
                         EVP_DigestSign(signing, der, &der_bytes, message, sizeof message) == 1;
  EVP_MD_CTX_free(signing);
  const uint8_t *at = der;
  ECDSA_SIG *signature = is_signed ? d2i_ECDSA_SIG(NULL, &at, (long)der_bytes) : NULL;
  if (signature == NULL || transcript->is_cut) {
    to->is_cut = true;
  } else {
    BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, COORDINATE_BYTES);
    BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + COORDINATE_BYTES, COORDINATE_BYTES);
    put(to, raw, sizeof raw);
  }
  ECDSA_SIG_free(signature);
}

static void answer_error(struct spdm_bytes *response, uint8_t error, uint8_t data) {
  clear(response);
  put_head(response, ERROR, error, data);
}

/* Each structure that was offered is answered with nothing selected: they are for sessions. @returns false when the request is cut short */
static bool answer_algorithms(const uint8_t *request, size_t length, struct spdm_bytes *response) {
  if (length < 32) return false;
  const uint8_t count = request[2];
  const size_t first = 32 + 4 * ((size_t)request[28] + request[29]);
  if (length < first + 4 * (size_t)count) return false;
  put_head(response, 0x63, count, 0);
  put_number(response, 36 + 4 * (uint32_t)count, 2);
  put(response, (uint8_t[]){1, request[7] & 2}, 2); /* DMTF measurements; the opaque data of 1.2 where it is offered */
  put_number(response, 0x02, 4);                    /* measurements: SHA-256 */
  put_number(response, 0x10, 4);                    /* signatures: ECDSA P-256 */
  put_number(response, 0x01, 4);                    /* hashes: SHA-256 */
  put(response, (uint8_t[16]){0}, 16);
  for (size_t i = 0; i < count; i += 1) {
    put(response, request + first + 4 * i, 2);
    put_number(response, 0, 2);
  }
  return true;
}

static bool answer_certificate(const struct spdm *spdm, const uint8_t *request, size_t length, struct spdm_bytes *response) {
  if (length < 8 || request[2] != 0) return false;
  const size_t offset = number_at(request + 4), wanted = number_at(request + 6), most = SPDM_MAX_MESSAGE_BYTES - 8;
  if (offset >= spdm->chain.length) return false;
  size_t portion = spdm->chain.length - offset;
  if (portion > wanted) portion = wanted;
  if (portion > most) portion = most;
  put_head(response, 0x02, 0, 0);
  put_number(response, (uint32_t)portion, 2);
  put_number(response, (uint32_t)(spdm->chain.length - offset - portion), 2);
  put(response, spdm->chain.bytes + offset, portion);
  return true;
}

static bool answer_challenge(struct spdm *spdm, const uint8_t *request, size_t length, struct spdm_bytes *response) {
  static struct spdm_bytes transcript;
  if (length < 4 + NONCE_BYTES || request[2] != 0) return false;
  put_head(response, 0x03, 0, 1);
  put_hash(response, &spdm->chain);
  put_nonce(response);
  if (request[3] != 0) put_hash(response, &spdm->block);
  put_number(response, 0, 2);
  clear(&transcript);
  put_all(&transcript, &spdm->vca);
  put_all(&transcript, &spdm->identity);
  put(&transcript, request, length);
  put_all(&transcript, response);
  put_signature(response, spdm->key, "responder-challenge_auth signing", &transcript);
  clear(&spdm->identity);
  return true;
}

static bool answer_measurements(struct spdm *spdm, const uint8_t *request, size_t length, struct spdm_bytes *response) {
  static struct spdm_bytes transcript;
  const bool is_signed = (request[2] & 1) != 0;
  const uint8_t wanted = request[3];
  const bool is_known = wanted == 0 || wanted == MEASUREMENT_INDEX || wanted == ALL;
  if (!is_known || (is_signed && length < 4 + NONCE_BYTES + 1)) return false;
  const bool is_shown = wanted != 0;
  put_head(response, 0x60, is_shown ? 0 : 1, 0);
  put_number(response, is_shown ? 1 : 0, 1);
  put_number(response, is_shown ? (uint32_t)spdm->block.length : 0, 3);
  if (is_shown) put_all(response, &spdm->block);
  put_nonce(response);
  put_number(response, 0, 2);
  put(&spdm->measured, request, length);
  put_all(&spdm->measured, response);
  if (!is_signed) return true;
  clear(&transcript);
  put_all(&transcript, &spdm->vca);
  put_all(&transcript, &spdm->measured);
  transcript.is_cut = transcript.is_cut || spdm->measured.is_cut;
  put_signature(response, spdm->key, "responder-measurements signing", &transcript);
  clear(&spdm->measured);
  return true;
}

static void keep(struct spdm_bytes *transcript, const uint8_t *request, size_t length, const struct spdm_bytes *response) {
  put(transcript, request, length);
  put_all(transcript, response);
}

void spdm_answer(struct spdm *spdm, const uint8_t *request, size_t length, struct spdm_bytes *response) {
  bool is_answered = true;
  clear(response);
  if (length < 4) return answer_error(response, INVALID_REQUEST, 0);
  const uint8_t code = request[1];
  if (code != GET_MEASUREMENTS) clear(&spdm->measured);
  switch (code) {
    case GET_VERSION:
      put(response, (uint8_t[]){0x10, 0x04, 0, 0, 0, 1, 0, VERSION}, 8);
      clear(&spdm->identity);
      clear(&spdm->vca);
      keep(&spdm->vca, request, length, response);
      break;
    case GET_CAPABILITIES:
      put_head(response, 0x61, 0, 0);
      put_number(response, 0, 4);
      put_number(response, CAPABILITIES, 4);
      put_number(response, SPDM_MAX_MESSAGE_BYTES, 4);
      put_number(response, SPDM_MAX_MESSAGE_BYTES, 4);
      keep(&spdm->vca, request, length, response);
      break;
    case NEGOTIATE_ALGORITHMS:
      is_answered = answer_algorithms(request, length, response);
      if (is_answered) keep(&spdm->vca, request, length, response);
      break;
    case GET_DIGESTS:
      put_head(response, 0x01, 0, 1);
      put_hash(response, &spdm->chain);
      clear(&spdm->identity);
      keep(&spdm->identity, request, length, response);
      break;
    case GET_CERTIFICATE:
      is_answered = answer_certificate(spdm, request, length, response);
      if (is_answered) keep(&spdm->identity, request, length, response);
      break;
    case CHALLENGE:
      is_answered = answer_challenge(spdm, request, length, response);
      break;
    case GET_MEASUREMENTS:
      is_answered = answer_measurements(spdm, request, length, response);
      break;
    default:
      return answer_error(response, UNSUPPORTED_REQUEST, code);
  }
  if (!is_answered) return answer_error(response, INVALID_REQUEST, 0);
  const bool is_cut = response->is_cut || response->length > SPDM_MAX_MESSAGE_BYTES || spdm->vca.is_cut || spdm->identity.is_cut;
  if (is_cut) answer_error(response, UNSPECIFIED, 0);
}

static FILE *open_in(const char *folder, const char *name) {
  char path[512];
  const int length = snprintf(path, sizeof path, "%s/%s", folder, name);
  return length > 0 && (size_t)length < sizeof path ? fopen(path, "r") : NULL;
}

/* The DER of the next certificate of a PEM file. */
static bool read_certificate(FILE *file, struct spdm_bytes *der) {
  uint8_t *bytes = NULL;
  X509 *certificate = file == NULL ? NULL : PEM_read_X509(file, NULL, NULL, NULL);
  const int length = certificate == NULL ? -1 : i2d_X509(certificate, &bytes);
  clear(der);
  if (length > 0) put(der, bytes, (size_t)length);
  OPENSSL_free(bytes);
  X509_free(certificate);
  return length > 0 && !der->is_cut;
}

bool spdm_open(struct spdm *spdm, const char *folder, const uint8_t image_hash[SPDM_HASH_BYTES]) {
  static struct spdm_bytes root, ica, leaf;
  memset(spdm, 0, sizeof *spdm);
  FILE *roots = open_in(folder, "root.pem"), *own = open_in(folder, "device.pem"), *key = open_in(folder, "device.key");
  const bool are_read = read_certificate(roots, &root) && read_certificate(own, &leaf) && read_certificate(own, &ica);
  spdm->key = key == NULL ? NULL : PEM_read_PrivateKey(key, NULL, NULL, NULL);
  FILE *files[] = {roots, own, key};
  for (size_t i = 0; i < 3; i += 1)
    if (files[i] != NULL) fclose(files[i]);
  if (!are_read || spdm->key == NULL) return false;

  put_number(&spdm->chain, (uint32_t)(4 + SPDM_HASH_BYTES + root.length + ica.length + leaf.length), 2);
  put_number(&spdm->chain, 0, 2);
  put_hash(&spdm->chain, &root);
  put_all(&spdm->chain, &root);
  put_all(&spdm->chain, &ica);
  put_all(&spdm->chain, &leaf);
  put(&spdm->block, (uint8_t[]){MEASUREMENT_INDEX, 1}, 2);
  put_number(&spdm->block, 3 + SPDM_HASH_BYTES, 2);
  put_number(&spdm->block, 1, 1);
  put_number(&spdm->block, SPDM_HASH_BYTES, 2);
  put(&spdm->block, image_hash, SPDM_HASH_BYTES);
  return !spdm->chain.is_cut;
}
