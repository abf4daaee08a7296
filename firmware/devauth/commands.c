#include <bearssl.h>
#include <string.h>

#include "board.h"
#include "der.h"
#include "devauth.h"
#include "entropy.h"

/* Numbers of docs/devauth.md 5. */
enum { PROTOCOL_VERSION = 1, STAGE_DEVAUTH = 0, NONCE_BYTES = 16, OBJ_ID_BYTES = 16 };
enum { AUTH_KEY_SLOT = 0, ENCRYPTION_KEY_SLOT = 4, MAX_KEY_SLOT = 7, MIN_ENTROPY_BITS = 256 };
/* COSE algorithms -7 (ES256) and -25 (ECDH-ES), as CBOR writes them: -1 - argument. */
enum { ES256_ARGUMENT = 6, ECDH_ES_ARGUMENT = 24 };
enum { MAX_ORDER_BYTES = 1024, MAX_CRI_BYTES = 2048, MAX_PIECE_BYTES = 32768, MAX_OBJECT_BYTES = 65536, HASH_BYTES = 32, SIGNATURE_BYTES = 64 };
enum put_type { DEVICE_CERTIFICATE = 1, ICA_CERTIFICATE = 2, ROOT_CERTIFICATE = 3, PROGRAMMER_CERTIFICATE = 4, OBJ_ID = 5, BUNDLE = 6 };
/* OTP map, version 1 (6): what kind belongs into a slot; slots of the root's and the issuing CA's hash. */
static const uint8_t otp_kinds[OTP_SLOTS] = { 1, 1, 2, 2, 2, 3, 2, 4 };
enum { ROOT_SLOT = 3, ICA_SLOT = 4 };

static bool is_resetting;

bool command_wants_reset(void) { return is_resetting; }

static void sha256(const uint8_t *data, size_t length, uint8_t hash[HASH_BYTES])
{
    br_sha256_context sha;
    br_sha256_init(&sha);
    br_sha256_update(&sha, data, length);
    br_sha256_out(&sha, hash);
}

static void ok(struct cbor_out *out, uint32_t more_pairs)
{
    cbor_put_map(out, 1 + more_pairs);
    cbor_put_uint(out, 0);
    cbor_put_uint(out, OK);
}

static void put_uint(struct cbor_out *out, uint32_t key, uint32_t value)
{
    cbor_put_uint(out, key);
    cbor_put_uint(out, value);
}

static void put_bytes(struct cbor_out *out, uint32_t key, const uint8_t *data, size_t length)
{
    cbor_put_uint(out, key);
    cbor_put_bytes(out, data, length);
}

static enum result hello(struct cbor_in *in, uint32_t pairs, struct cbor_out *out)
{
    uint32_t version;
    const uint8_t *host_nonce;
    size_t length;
    if (pairs != 2 || !cbor_key(in, 1) || !cbor_uint(in, PROTOCOL_VERSION, &version) || version != PROTOCOL_VERSION) return BAD_ARG;
    if (!cbor_key(in, 2) || !cbor_bytes(in, NONCE_BYTES, NONCE_BYTES, &host_nonce, &length)) return BAD_ARG;

    uint8_t nonce[NONCE_BYTES];
    br_hmac_drbg_context *random = entropy_fresh();
    if (random == NULL) return ENTROPY;
    br_hmac_drbg_generate(random, nonce, sizeof nonce);
    const uint8_t *obj_id = board_object(OBJ_ID, &length);
    ok(out, obj_id == NULL ? 11 : 12);
    put_uint(out, 1, PROTOCOL_VERSION);
    put_uint(out, 2, STAGE_DEVAUTH);
    put_bytes(out, 3, board_uid(), UID_BYTES);
    put_uint(out, 4, board_product_id());
    put_uint(out, 5, board_life_cycle());
    put_uint(out, 6, board_debug_state());
    put_uint(out, 7, board_otp_mask());
    /* No firmware yet: version 0.0.0+0. */
    cbor_put_uint(out, 8);
    cbor_put_array(out, 4);
    for (int i = 0; i < 4; i++) cbor_put_uint(out, 0);
    put_uint(out, 9, 0);
    put_uint(out, 10, MAX_BODY_BYTES);
    put_bytes(out, 11, nonce, sizeof nonce);
    if (obj_id != NULL) put_bytes(out, 12, obj_id, OBJ_ID_BYTES);
    return OK;
}

/* Makes a key once (R74): random candidates below the order (FIPS 186-5 A.2.2), the point by the curve's own code. */
static bool make_key(enum board_key which)
{
    const br_ec_impl *curve = &br_ec_p256_m31;
    uint8_t scalar[SCALAR_BYTES], point[POINT_BYTES];
    br_ec_private_key key;
    br_hmac_drbg_context *random = entropy_fresh();
    if (random == NULL) return false;
    bool is_made = br_ec_keygen(&random->vtable, curve, &key, scalar, BR_EC_secp256r1) == SCALAR_BYTES &&
                   br_ec_compute_pub(curve, NULL, point, &key) == POINT_BYTES;
    if (is_made) board_key_store(which, scalar, point);
    memset(scalar, 0, sizeof scalar);
    return is_made;
}

static enum result keygen(struct cbor_in *in, uint32_t pairs, struct cbor_out *out)
{
    uint32_t slot, algorithm, bits;
    const uint8_t *order;
    size_t length;
    if (pairs != 3 && pairs != 4) return BAD_ARG;
    if (!cbor_key(in, 1) || !cbor_uint(in, MAX_KEY_SLOT, &slot)) return BAD_ARG;
    if (!cbor_key(in, 2) || !cbor_negative(in, &algorithm)) return BAD_ARG;
    if (!cbor_key(in, 3) || !cbor_uint(in, 0xffff, &bits) || bits < MIN_ENTROPY_BITS) return BAD_ARG;
    /* An order is for the next generation of a device that runs its bootloader; here it changes nothing. */
    if (pairs == 4 && (!cbor_key(in, 4) || !cbor_bytes(in, 1, MAX_ORDER_BYTES, &order, &length))) return BAD_ARG;
    bool is_auth = algorithm == ES256_ARGUMENT && slot == AUTH_KEY_SLOT;
    if (!is_auth && (algorithm != ECDH_ES_ARGUMENT || slot != ENCRYPTION_KEY_SLOT)) return BAD_ARG;
    enum board_key key = is_auth ? AUTH_KEY : ENCRYPTION_KEY;
    if (bits > ENTROPY_BITS || (board_key_point(key) == NULL && !make_key(key))) return ENTROPY;
    ok(out, 3);
    put_bytes(out, 1, board_key_point(key) + 1, POINT_BYTES - 1);
    put_uint(out, 2, slot);
    put_uint(out, 3, ENTROPY_BITS);
    return OK;
}

/* Signs a whole request that carries the own key and UID, nothing else (T28). ECDSA with the nonce of RFC 6979. */
static enum result sign_cri(struct cbor_in *in, uint32_t pairs, struct cbor_out *out)
{
    const uint8_t *cri;
    size_t length;
    if (pairs != 1 || !cbor_key(in, 1) || !cbor_bytes(in, 1, MAX_CRI_BYTES, &cri, &length)) return BAD_ARG;
    const uint8_t *point = board_key_point(AUTH_KEY);
    if (point == NULL) return BAD_STATE;
    if (!der_request_is_for(cri, length, board_uid(), point)) return BAD_ARG;

    uint8_t hash[HASH_BYTES], scalar[SCALAR_BYTES], signature[SIGNATURE_BYTES];
    br_ec_private_key key = { BR_EC_secp256r1, scalar, sizeof scalar };
    sha256(cri, length, hash);
    memcpy(scalar, board_key_scalar(AUTH_KEY), sizeof scalar);
    size_t signed_bytes = br_ecdsa_i31_sign_raw(&br_ec_p256_m31, &br_sha256_vtable, hash, &key, signature);
    memset(scalar, 0, sizeof scalar);
    if (signed_bytes != sizeof signature) return POLICY;
    ok(out, 1);
    put_bytes(out, 1, signature, sizeof signature);
    return OK;
}

/* The object that comes in pieces. */
static struct {
    bool is_open;
    uint32_t type;
    uint32_t total;
    uint32_t received;
    uint8_t hash[HASH_BYTES];
} transfer;

/* A certificate whose hash is burned already must be that one. */
static enum result check_anchor(const uint8_t *object, size_t length, unsigned slot)
{
    uint8_t hash[HASH_BYTES];
    if (!der_is_certificate(object, length)) return BAD_ARG;
    sha256(object, length, hash);
    bool is_burned = (board_otp_mask() & 1u << slot) != 0;
    return !is_burned || memcmp(board_otp(slot), hash, HASH_BYTES) == 0 ? OK : POLICY;
}

static enum result check_object(const uint8_t *object, size_t length, unsigned type)
{
    size_t root_length;
    switch (type) {
    case DEVICE_CERTIFICATE:
        if (!der_is_certificate(object, length)) return BAD_ARG;
        if (board_key_point(AUTH_KEY) == NULL) return POLICY;
        return der_certificate_is_for(object, length, board_uid(), board_key_point(AUTH_KEY)) ? OK : POLICY;
    case ICA_CERTIFICATE:
        return check_anchor(object, length, ICA_SLOT);
    case ROOT_CERTIFICATE:
        return check_anchor(object, length, ROOT_SLOT);
    case PROGRAMMER_CERTIFICATE:
        return der_is_certificate(object, length) ? OK : BAD_ARG;
    case OBJ_ID:
        return length == OBJ_ID_BYTES ? OK : BAD_ARG;
    default:
        /* The bootloader verifies the trust bundle before it trusts anything in it. */
        return board_object(ROOT_CERTIFICATE, &root_length) == NULL ? BAD_STATE : OK;
    }
}

static enum result finish_object(void)
{
    uint8_t hash[HASH_BYTES];
    const uint8_t *object = board_object_staged(transfer.type);
    transfer.is_open = false;
    sha256(object, transfer.total, hash);
    if (memcmp(hash, transfer.hash, HASH_BYTES) != 0) return BAD_ARG;
    enum result result = check_object(object, transfer.total, transfer.type);
    if (result == OK) board_object_finish(transfer.type, transfer.total);
    return result;
}

static enum result put_piece(struct cbor_in *in, uint32_t pairs, struct cbor_out *out)
{
    uint32_t type, offset, total;
    const uint8_t *data, *hash = NULL;
    size_t length, hash_length;
    if (pairs != 4 && pairs != 5) return BAD_ARG;
    if (!cbor_key(in, 1) || !cbor_uint(in, BUNDLE, &type) || type < DEVICE_CERTIFICATE) return BAD_ARG;
    if (!cbor_key(in, 2) || !cbor_uint(in, MAX_OBJECT_BYTES, &offset)) return BAD_ARG;
    if (!cbor_key(in, 3) || !cbor_uint(in, MAX_OBJECT_BYTES, &total) || total == 0) return BAD_ARG;
    if (!cbor_key(in, 4) || !cbor_bytes(in, 1, MAX_PIECE_BYTES, &data, &length) || length > total - offset || offset >= total) return BAD_ARG;
    if (pairs == 5 && (!cbor_key(in, 5) || !cbor_bytes(in, HASH_BYTES, HASH_BYTES, &hash, &hash_length))) return BAD_ARG;
    /* The hash comes with the first piece, and only with it. */
    if ((hash != NULL) != (offset == 0) || total > board_object_capacity(type)) return BAD_ARG;

    if (hash != NULL) {
        board_object_begin(type);
        transfer.is_open = true;
        transfer.type = type;
        transfer.total = total;
        transfer.received = 0;
        memcpy(transfer.hash, hash, HASH_BYTES);
    }
    if (!transfer.is_open || transfer.type != type || transfer.total != total || transfer.received != offset) return BAD_ARG;
    board_object_write(type, offset, data, length);
    transfer.received += (uint32_t)length;
    if (transfer.received == total) {
        enum result result = finish_object();
        if (result != OK) return result;
    }
    ok(out, 1);
    put_uint(out, 1, transfer.received);
    return OK;
}

/* Burns, reads back, closes. A slot that a power cut has left half-burned takes only the value that its bits belong to. */
static enum result otp(struct cbor_in *in, uint32_t pairs, struct cbor_out *out)
{
    uint32_t slot, kind;
    const uint8_t *value;
    size_t length;
    uint8_t hash[HASH_BYTES];
    if (pairs != 3 || !cbor_key(in, 1) || !cbor_uint(in, OTP_SLOTS - 1, &slot)) return BAD_ARG;
    if (!cbor_key(in, 2) || !cbor_uint(in, 4, &kind) || kind != otp_kinds[slot]) return BAD_ARG;
    if (!cbor_key(in, 3) || !cbor_bytes(in, OTP_SLOT_BYTES, OTP_SLOT_BYTES, &value, &length)) return BAD_ARG;

    const uint8_t *now = board_otp(slot);
    if ((board_otp_mask() & 1u << slot) != 0) {
        if (memcmp(now, value, OTP_SLOT_BYTES) != 0) return OTP_USED;
    } else {
        for (unsigned i = 0; i < OTP_SLOT_BYTES; i++)
            if ((now[i] & ~value[i]) != 0) return OTP_USED;
        board_otp_set_bits(slot, value);
        if (memcmp(board_otp(slot), value, OTP_SLOT_BYTES) != 0) return OTP_VERIFY;
        board_otp_close(slot);
    }
    sha256(board_otp(slot), OTP_SLOT_BYTES, hash);
    ok(out, 1);
    put_bytes(out, 1, hash, sizeof hash);
    return OK;
}

static enum result reset(struct cbor_in *in, uint32_t pairs, struct cbor_out *out)
{
    uint32_t mode;
    if (pairs != 1 || !cbor_key(in, 1) || !cbor_uint(in, 1, &mode)) return BAD_ARG;
    is_resetting = true;
    ok(out, 0);
    return OK;
}

static bool is_known(unsigned command) { return command <= RECEIPT || (command >= RESET && command <= DEBUG_UNLOCK); }

enum result command_execute(unsigned command, unsigned op, struct cbor_in body, struct cbor_out *out)
{
    uint32_t pairs;
    bool is_read = command == HELLO || command == RECEIPT;
    if (!is_known(command) || op != (is_read ? OP_READ : OP_WRITE)) return BAD_ARG;
    switch (command) {
    case LOCK:
    case RECEIPT:
        return BAD_STATE;
    case FW_BEGIN:
    case FW_CHUNK:
    case FW_END:
    case WIPE:
    case DEBUG_UNLOCK:
        /* Only inside a session, and there is none in this stage. */
        return UNAUTHENTICATED;
    default:
        break;
    }
    if (!cbor_map(&body, &pairs)) return BAD_ARG;
    switch (command) {
    case HELLO:
        return hello(&body, pairs, out);
    case KEYGEN:
        return keygen(&body, pairs, out);
    case SIGN_CRI:
        return sign_cri(&body, pairs, out);
    case PUT:
        return put_piece(&body, pairs, out);
    case OTP:
        return otp(&body, pairs, out);
    default:
        return reset(&body, pairs, out);
    }
}
