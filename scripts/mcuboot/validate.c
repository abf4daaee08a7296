/* One image judged by MCUboot's own bootutil_img_validate, as a bootloader with MCUBOOT_HW_KEY, hardware rollback protection and ECIES-P256 does.
 * usage: validate IMAGE KEYHASH COUNTER SLOT_BYTES VENDOR CLASS SLOT KEY     key hash, vendor and class in hex; slot: primary or secondary;
 * KEY: PKCS#8 of what the device decrypts with. Prints ok or refused, and exits 0 or 1.
 * The flash is the file in a slot of erased bytes; key hash, counter and UUIDs are those of the device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bootutil/enc_key.h"
#include "bootutil/image.h"
#include "bootutil/mcuboot_uuid.h"
#include "bootutil/security_cnt.h"
#include "bootutil/sign_key.h"
#include "bootutil_priv.h"

static uint8_t *slot;
static uint32_t slot_bytes, counter;
static uint8_t key_hash[32], vendor[16], class[16];

int flash_area_open(uint8_t id, const struct flash_area **area) { return -1; }
void flash_area_close(const struct flash_area *area) {}
int flash_area_read(const struct flash_area *area, uint32_t offset, void *to, uint32_t bytes) {
  if (offset + bytes > slot_bytes || offset + bytes < offset) return -1;
  memcpy(to, slot + offset, bytes);
  return 0;
}
int flash_area_write(const struct flash_area *area, uint32_t offset, const void *from, uint32_t bytes) { return -1; }
int flash_area_erase(const struct flash_area *area, uint32_t offset, uint32_t bytes) { return -1; }
uint32_t flash_area_align(const struct flash_area *area) { return 1; }
uint8_t flash_area_erased_val(const struct flash_area *area) { return 0xff; }
int flash_area_get_sectors(int id, uint32_t *count, struct flash_sector *sectors) { return -1; }
int flash_area_get_sector(const struct flash_area *area, uint32_t offset, struct flash_sector *sector) { return -1; }
int flash_area_id_from_multi_image_slot(int image, int which) { return 1 + which; }
int flash_area_id_to_multi_image_slot(int image, int area) { return area - 1; }

int boot_retrieve_public_key_hash(uint8_t image, uint8_t *hash, size_t *bytes) {
  memcpy(hash, key_hash, sizeof key_hash);
  *bytes = sizeof key_hash;
  return 0;
}
fih_ret boot_nv_security_counter_init(void) { return FIH_SUCCESS; }
fih_ret boot_nv_security_counter_get(uint32_t image, fih_int *value) {
  *value = fih_int_encode(counter);
  return FIH_SUCCESS;
}
int32_t boot_nv_security_counter_update(uint32_t image, uint32_t value) { return 0; }
fih_ret boot_uuid_init(void) { return FIH_SUCCESS; }
static fih_ret same(const struct image_uuid *uuid, const uint8_t *own) {
  return memcmp(uuid->raw, own, 16) == 0 ? FIH_SUCCESS : FIH_FAILURE;
}
fih_ret boot_uuid_vid_match(uint32_t image, const struct image_uuid *uuid) { return same(uuid, vendor); }
fih_ret boot_uuid_cid_match(uint32_t image, const struct image_uuid *uuid) { return same(uuid, class); }

/* Asked for by parts of bootutil that are not used here. */
unsigned int pub_key_len;
struct bootutil_key bootutil_keys[1] = {{.key = 0, .len = &pub_key_len}};
const int bootutil_key_cnt = 1;
uint32_t app_max_size(struct boot_loader_state *state) { return 1 << 30; }
int default_CSPRNG(uint8_t *to, unsigned bytes) { return 0; }
int mbedtls_mpi_read_binary(void *number, const uint8_t *from, size_t bytes) { return -1; }

static uint8_t encryption_der[512];
static unsigned int encryption_bytes;
const struct bootutil_key bootutil_enc_key = {.key = encryption_der, .len = &encryption_bytes};

static void read_hex(const char *text, uint8_t *to, int bytes) {
  for (int i = 0; i < bytes; i++) {
    unsigned value = 0;
    sscanf(text + 2 * i, "%2x", &value);
    to[i] = value;
  }
}

int main(int count, char **arguments) {
  if (count != 9) return 2;
  slot_bytes = atoi(arguments[4]);
  slot = malloc(slot_bytes);
  memset(slot, 0xff, slot_bytes);
  FILE *file = fopen(arguments[1], "rb");
  if (!file || fread(slot, 1, slot_bytes, file) == 0) return 2;
  fclose(file);
  read_hex(arguments[2], key_hash, sizeof key_hash);
  counter = atoi(arguments[3]);
  read_hex(arguments[5], vendor, sizeof vendor);
  read_hex(arguments[6], class, sizeof class);
  FILE *key = fopen(arguments[8], "rb");
  if (!key) return 2;
  encryption_bytes = fread(encryption_der, 1, sizeof encryption_der, key);
  fclose(key);
  int is_secondary = strcmp(arguments[7], "secondary") == 0;
  struct flash_area area = {.fa_id = 1 + is_secondary, .fa_size = slot_bytes};
  struct image_header header;
  static uint8_t buffer[1024];
  memcpy(&header, slot, sizeof header);
  FIH_DECLARE(result, FIH_FAILURE);
  static struct boot_loader_state state;
  static struct boot_status status;
  int has_key = 1;
  /* As boot_validate_slot does (loader.c) before it validates an image in the second slot. */
  if (is_secondary && header.ih_magic == IMAGE_MAGIC && IS_ENCRYPTED(&header))
    has_key = boot_enc_load(&state, 1, &header, &area, &status) >= 0 && boot_enc_set_key(BOOT_CURR_ENC_SLOT(&state, 1), status.enckey[1]) == 0;
  if (header.ih_magic == IMAGE_MAGIC && has_key)
    FIH_CALL(bootutil_img_validate, result, &state, &header, &area, buffer, sizeof buffer, NULL, 0, NULL);
  int is_ok = FIH_EQ(result, FIH_SUCCESS);
  puts(is_ok ? "ok" : "refused");
  return !is_ok;
}
