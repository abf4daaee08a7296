#!/bin/sh
# Images that imgtool signs, judged by `nusec image verify`: each one with what it has to say. The other way round of judge.sh.
# usage: scripts/mcuboot/imgtool.sh MCUBOOT FOLDER     MCUBOOT: a checkout of github.com/mcu-tools/mcuboot; PYTHON: one that has what imgtool
# needs (/usr/bin/python3). Exit status 1 when one verdict is another one.
set -eu
mcuboot=$1 folder=$2 nusec=$(dirname "$0")/../../nusec python=${PYTHON:-/usr/bin/python3}
mkdir -p "$folder"
imgtool() { PYTHONPATH=$mcuboot/scripts "$python" -m imgtool.main "$@" >/dev/null; }
key() { [ -f "$folder/$1.pem" ] || { imgtool keygen -k "$folder/$1.pem" -t "$2"; imgtool getpub -k "$folder/$1.pem" -e pem -o "$folder/$1.pub.pem"; }; }
key own ecdsa-p256; key other ecdsa-p256; key device ecdsa-p256; key curve25519 x25519; key edwards ed25519; key large ecdsa-p384; key rsa rsa-2048
head -c 40000 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 2>/dev/null > "$folder/payload.bin"
differ=0
# name, what is to be said, options of `nusec image verify` after the key; then those of `imgtool sign`
judge() {
  name=$1 expected=$2 options=$3
  shift 3
  imgtool sign -v 1.2.3+4 -S 0x40000 -H 0x200 --pad-header "$@" "$folder/payload.bin" "$folder/$name.bin"
  change "$name"
  # shellcheck disable=SC2086
  said=$("$nusec" image verify "$folder/$name.bin" $options --json || true)
  said=$(printf %s "$said" | sed -n 's/.*"ok": *true.*/ok/p; s/.*"unsupported": *"\([^"]*\)".*/\1/p; s/.*"reason": *"\([^"]*\)".*/\1/p' | head -n 1)
  [ "$said" = "$expected" ] || differ=1
  printf '%-26s %-34s %s\n' "$name" "$said" "$([ "$said" = "$expected" ] || echo "expected: $expected")"
}
change() { :; }
own="-k $folder/own.pem" known="--key $folder/own.pub.pem"
for align in 1 4 8 16 32; do judge "align-$align" ok "$known" $own --align "$align" --max-align $([ "$align" -lt 8 ] && echo 8 || echo "$align"); done
judge key-by-hash ok "$known" $own --public-key-format hash
judge key-whole ok "$known" $own --public-key-format full
judge padded ok "$known" $own --pad
judge for-test ok "$known" $own --test
judge confirmed ok "$known" $own --confirm
judge counter ok "$known --device-counter 7" $own -s 7
judge counter-low rollback-security-counter-too-low "$known --device-counter 8" $own -s 7
judge counter-auto ok "$known --device-counter 1" $own -s auto
judge dependency ok "$known" $own -d '(1,1.0.0+0)'
judge boot-record ok "$known" $own --boot-record CoFM
judge vendor-tlv ok "$known" $own --custom-tlv 0x00a1 0xcafe
judge uuids ok "$known" $own --vid example.com --cid meter
judge other-key unknown-signing-key "--key $folder/other.pub.pem" $own
judge ed25519 ok "--key $folder/edwards.pub.pem" -k "$folder/edwards.pem"
for bits in 128 256; do
  wrapped="-E $folder/device.pub.pem --encrypt-keylen $bits"
  judge "encrypted-$bits" ok "$known --encryption-key $folder/device.pem" $own $wrapped
  judge "encrypted-$bits-full" ok "$known --encryption-key $folder/device.pem" $own $wrapped --public-key-format full -s 3
  judge "encrypted-$bits-padded" ok "$known --encryption-key $folder/device.pem" $own $wrapped --pad
  judge "factory-$bits" ok "$known --encryption-key $folder/device.pem --slot primary" $own $wrapped -c
  judge "for-another-$bits" enc-key-unwrap-failed "$known --encryption-key $folder/other.pem" $own $wrapped
done
judge x25519 ok "--key $folder/edwards.pub.pem --encryption-key $folder/curve25519.pem" -k "$folder/edwards.pem" -E "$folder/curve25519.pub.pem"
change() { printf '\001' | dd of="$folder/$1.bin" bs=1 seek=5000 conv=notrunc 2>/dev/null; }
judge changed-payload hash-mismatch "$known" $own
judge changed-encrypted hash-mismatch "$known --encryption-key $folder/device.pem" $own -E "$folder/device.pub.pem"
change() { :; }
judge p-384 unsupported-sha384 "$known" -k "$folder/large.pem"
judge rsa unsupported-rsa "$known" -k "$folder/rsa.pem"
exit $differ
