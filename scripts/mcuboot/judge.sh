#!/bin/sh
# Judges the images of `npm run images -- FOLDER` by MCUboot's own code and by imgtool, and compares with verifyImage.
# usage: scripts/mcuboot/judge.sh MCUBOOT FOLDER     MCUBOOT: a checkout of github.com/mcu-tools/mcuboot; needs a C compiler, and for imgtool
# Python with cryptography, intelhex, click, cbor2 and yaml. Exit status 1 when MCUboot and verifyImage differ on one image.
set -eu
mcuboot=$1 folder=$2 here=$(dirname "$0")
source=$mcuboot/boot/bootutil crypto=$mcuboot/ext/tinycrypt/lib asn1=$mcuboot/ext/mbedtls-asn1
validate=$folder/validate
# shellcheck disable=SC2086
cc -O1 -w -I"$here/port" -I"$here/port/mcuboot_config" -I"$here/port/flash_map_backend" -I"$source/include" -I"$source/src" -I"$crypto/include" -I"$asn1/include" \
  "$here/validate.c" $(for name in image_validate tlv image_ecdsa bootutil_img_hash bootutil_find_key bootutil_img_security_cnt bootutil_public bootutil_area \
    bootutil_misc fault_injection_hardening encrypted; do echo "$source/src/$name.c"; done) \
  $(for name in sha256 ecc ecc_dsa ecc_dh hmac aes_encrypt aes_decrypt ctr_mode utils; do echo "$crypto/source/$name.c"; done) "$asn1/src/asn1parse.c" "$asn1/src/platform_util.c" -o "$validate"
read -r key counter slot vendor class < "$folder/device.txt"
imgtool() { PYTHONPATH=$mcuboot/scripts:${PYTHONPATH:-} python3 -m imgtool.main "$@" >/dev/null 2>&1; }
imgtool version && has_imgtool=yes || { has_imgtool=no; echo "imgtool does not run with $(command -v python3): it judges nothing" >&2; }
differ=0
while read -r name where ours reason; do
  bootloader=$("$validate" "$folder/$name.bin" "$key" "$counter" "$slot" "$vendor" "$class" "$where" "$folder/encryption.der" || true)
  said=none
  [ $has_imgtool = no ] || said=$(imgtool verify -k "$folder/key.pem" "$folder/$name.bin" && echo ok || echo refused)
  [ "$bootloader" = "$ours" ] || differ=1
  printf '%-24s %-9s verifyImage %-8s MCUboot %-8s imgtool %-8s %s\n' "$name" "$where" "$ours" "$bootloader" "$said" "$reason"
done < "$folder/verdicts.txt"
exit $differ
