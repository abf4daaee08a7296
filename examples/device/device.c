/* A device in C with libmosquitto, libcbor and OpenSSL: connects, says hello, proves its identity and state over SPDM 1.2 (spdm.c), refuses orders that
 * it cannot verify.
 *
 *     gcc -std=c11 -Wall -Wextra -O2 -o device device.c spdm.c $(pkg-config --cflags --libs libmosquitto libcbor libcrypto)
 *     nusec device check ./check --uid 00112233445566778899aabbccddeeff &
 *     ./device ./check 00112233445566778899aabbccddeeff OBJ_ID localhost 8883
 *
 * OBJ_ID is in ./check/device.json. What it does and why: docs/device-contract.md. A device that upgrades its firmware needs SPDM sessions too
 * (KEY_EXCHANGE), for the keys of the blocks; they are not in this example. */
#include <cbor.h>
#include <mosquitto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spdm.h"

#define UID_CHARS 32
#define ID_BYTES 16
#define KEEPALIVE_SECONDS 60
#define MAX_WAIT_SECONDS 60
#define TYPE_CLEAR 0x05 /* SPDM in the clear */

struct device {
  char uid[UID_CHARS + 1];
  uint8_t obj_id[ID_BYTES];
  uint8_t image_hash[SPDM_HASH_BYTES];
  struct spdm spdm;
  /* The last request, and its answer: when it comes again it is not done again. */
  uint64_t last_cid;
  struct spdm_bytes last_request, answer;
};

/* {0: …, 1: …} in the order in which the keys are added: they rise, as deterministic CBOR wants it. Takes the value over. */
static void add(cbor_item_t *map, uint8_t key, cbor_item_t *value) {
  if (!cbor_map_add(map, (struct cbor_pair){.key = cbor_move(cbor_build_uint8(key)), .value = cbor_move(value)})) abort();
}

/* The shortest form of a number, as deterministic CBOR wants it. */
static cbor_item_t *number(uint64_t value) {
  if (value <= UINT8_MAX) return cbor_build_uint8((uint8_t)value);
  if (value <= UINT16_MAX) return cbor_build_uint16((uint16_t)value);
  if (value <= UINT32_MAX) return cbor_build_uint32((uint32_t)value);
  return cbor_build_uint64(value);
}

/* Sends a map to n1/{uid}/up/{family} with QoS 1, and frees it. */
static void publish(struct mosquitto *client, const struct device *device, const char *family, cbor_item_t *map) {
  char topic[UID_CHARS + 32];
  unsigned char *bytes = NULL;
  size_t capacity = 0;
  size_t length = cbor_serialize_alloc(map, &bytes, &capacity);
  snprintf(topic, sizeof topic, "n1/%s/up/%s", device->uid, family);
  if (length > 0) mosquitto_publish(client, NULL, topic, (int)length, bytes, 1, false);
  free(bytes);
  cbor_decref(&map);
}

static void on_connect(struct mosquitto *client, void *data, int code) {
  const struct device *device = data;
  if (code != 0) {
    fprintf(stderr, "refused: CONNACK %d\n", code);
    return;
  }
  cbor_item_t *hello = cbor_new_definite_map(7);
  add(hello, 0, number(1));
  add(hello, 1, cbor_build_string("1.0.0"));
  add(hello, 2, number(1));
  add(hello, 3, cbor_build_bytestring(device->image_hash, SPDM_HASH_BYTES));
  add(hello, 4, number(1));
  add(hello, 5, number(0));
  add(hello, 6, cbor_build_bytestring(device->obj_id, ID_BYTES));
  publish(client, device, "hello", hello);
}

/* The value of a key; NULL when the map has none. */
static cbor_item_t *get(const cbor_item_t *map, uint64_t key) {
  struct cbor_pair *pairs = cbor_map_handle(map);
  for (size_t i = 0; i < cbor_map_size(map); i += 1)
    if (cbor_isa_uint(pairs[i].key) && cbor_get_int(pairs[i].key) == key) return pairs[i].value;
  return NULL;
}

static void answer_spdm(struct mosquitto *client, struct device *device, uint64_t cid, const cbor_item_t *data) {
  const uint8_t *request = cbor_bytestring_handle(data);
  const size_t length = cbor_bytestring_length(data);
  uint8_t message[1 + SPDM_MAX_MESSAGE_BYTES] = {TYPE_CLEAR};
  if (length < 1 || length > sizeof message || request[0] != TYPE_CLEAR) return;
  struct spdm_bytes *last = &device->last_request;
  const bool is_again = last->length == length && cid == device->last_cid && memcmp(last->bytes, request, length) == 0;
  if (!is_again) spdm_answer(&device->spdm, request + 1, length - 1, &device->answer);
  device->last_cid = cid;
  memcpy(last->bytes, request, length);
  last->length = length;
  memcpy(message + 1, device->answer.bytes, device->answer.length);
  cbor_item_t *answer = cbor_new_definite_map(2);
  add(answer, 0, number(cid));
  add(answer, 1, cbor_build_bytestring(message, 1 + device->answer.length));
  publish(client, device, "spdm", answer);
}

static void refuse_order(struct mosquitto *client, const struct device *device, uint64_t cid) {
  cbor_item_t *answer = cbor_new_definite_map(3);
  add(answer, 0, number(cid));
  add(answer, 1, cbor_new_null());
  add(answer, 2, cbor_build_string("COSE_SIGNATURE"));
  publish(client, device, "order", answer);
}

/* What is not known, or not well-formed, is ignored. */
static void on_message(struct mosquitto *client, void *data, const struct mosquitto_message *message) {
  struct device *device = data;
  const char *slash = strrchr(message->topic, '/');
  struct cbor_load_result result;
  cbor_item_t *map = message->payloadlen > 0 ? cbor_load(message->payload, (size_t)message->payloadlen, &result) : NULL;
  if (map == NULL) return;
  if (cbor_isa_map(map) && slash != NULL) {
    const cbor_item_t *cid = get(map, 0);
    const cbor_item_t *body = get(map, 1);
    const bool is_asked = cid != NULL && cbor_isa_uint(cid);
    if (strcmp(slash, "/spdm") == 0 && is_asked && body != NULL && cbor_isa_bytestring(body))
      answer_spdm(client, device, cbor_get_int(cid), body);
    else if (strcmp(slash, "/order") == 0 && is_asked)
      refuse_order(client, device, cbor_get_int(cid));
    else if (strcmp(slash, "/err") == 0 && body != NULL && cbor_isa_string(body))
      fprintf(stderr, "error: %.*s\n", (int)cbor_string_length(body), (const char *)cbor_string_handle(body));
  }
  cbor_decref(&map);
}

static bool read_hex(const char *text, uint8_t *bytes, size_t count) {
  if (strlen(text) != 2 * count) return false;
  for (size_t i = 0; i < count; i += 1)
    if (sscanf(text + 2 * i, "%2hhx", &bytes[i]) != 1) return false;
  return true;
}

int main(int argc, char **argv) {
  static struct device device;
  char ca[512], certificate[512], key[512];
  if (argc != 6 || strlen(argv[2]) != UID_CHARS || !read_hex(argv[3], device.obj_id, ID_BYTES)) {
    fprintf(stderr, "usage: device FOLDER UID OBJ_ID HOST PORT\n");
    return 2;
  }
  snprintf(device.uid, sizeof device.uid, "%s", argv[2]);
  snprintf(ca, sizeof ca, "%s/root.pem", argv[1]);
  snprintf(certificate, sizeof certificate, "%s/device.pem", argv[1]);
  snprintf(key, sizeof key, "%s/device.key", argv[1]);

  SHA256((const uint8_t *)"the image that runs", strlen("the image that runs"), device.image_hash);
  if (!spdm_open(&device.spdm, argv[1], device.image_hash)) {
    fprintf(stderr, "%s: root.pem, device.pem or device.key cannot be read\n", argv[1]);
    return 1;
  }

  mosquitto_lib_init();
  struct mosquitto *client = mosquitto_new(device.uid, true, &device);
  if (client == NULL) return 1;
  mosquitto_int_option(client, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V311);
  mosquitto_connect_callback_set(client, on_connect);
  mosquitto_message_callback_set(client, on_message);
  mosquitto_reconnect_delay_set(client, 1, 60, true);
  if (mosquitto_tls_set(client, ca, NULL, certificate, key, NULL) != MOSQ_ERR_SUCCESS) return 1;
  mosquitto_tls_opts_set(client, 1, "tlsv1.3", NULL);
  int failure = mosquitto_connect(client, argv[4], atoi(argv[5]), KEEPALIVE_SECONDS);
  /* loop_forever connects again with growing waits, but gives up when a TLS connection ends without a word. */
  for (unsigned wait = 1;; wait = wait < MAX_WAIT_SECONDS ? 2 * wait : MAX_WAIT_SECONDS) {
    if (failure == MOSQ_ERR_SUCCESS) {
      failure = mosquitto_loop_forever(client, -1, 1);
      wait = 1;
    }
    fprintf(stderr, "%s\n", mosquitto_strerror(failure));
    sleep(wait);
    failure = mosquitto_reconnect(client);
  }
}
