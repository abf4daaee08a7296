#!/bin/sh
# Builds the DevAuth code for a board with arm-none-eabi-gcc: OUT/devauth.bin goes to SRAM, OUT/bootrom.elf is what a blank board starts with.
#   firmware/devauth/build.sh BEARSSL OUT [BOARD]     BEARSSL: its source tree, as fetch.sh prints it; BOARD: an505, or host
# Board `host` is OUT/devauth, a program of this machine under sanitizers, for fuzzing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bearssl=$1 out=$2 board=${3:-an505}
mkdir -p "$out"

core="-mcpu=cortex-m33 -mthumb -mfloat-abi=soft -ffreestanding -nostdlib -isystem $here/libc -isystem $bearssl/inc"
safe="-Os -g -ffunction-sections -fdata-sections -fno-common -fno-tree-loop-distribute-patterns"
strict="-std=c11 -Wall -Wextra -Werror -Wconversion -Wno-sign-conversion -Wshadow -Wstrict-prototypes -Wundef"

# HMAC_DRBG, SHA-256, P-256 and ECDSA of BearSSL (MIT licence), nothing else of it.
library=""
for name in codec/ccopy codec/dec32be codec/enc32be hash/sha2small mac/hmac rand/hmac_drbg \
  ec/ec_p256_m31 ec/ec_keygen ec/ec_pubkey ec/ec_secp256r1 ec/ec_secp384r1 ec/ec_secp521r1 ec/ecdsa_i31_sign_raw ec/ecdsa_i31_bits \
  int/i31_add int/i31_bitlen int/i31_decode int/i31_decmod int/i31_encode int/i31_fmont int/i31_iszero int/i31_modpow int/i31_montmul \
  int/i31_muladd int/i31_ninv31 int/i31_rshift int/i31_sub int/i31_tmont int/i32_div32; do
  library="$library $bearssl/src/$name.c"
done

# shellcheck disable=SC2086
if [ "$board" = host ]; then
  mkdir -p "$out/objects"
  (cd "$out/objects" && cc -O2 -w -isystem "$bearssl/inc" -I"$bearssl/src" -c $library)
  exec cc -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all $strict -isystem "$bearssl/inc" -I"$here" $(ls "$here"/*.c | grep -v /main.c) "$here"/host/*.c \
    "$out"/objects/*.o -o "$out/devauth"
fi

# shellcheck disable=SC2086
{
  rm -rf "$out/objects" && mkdir "$out/objects"
  (cd "$out/objects" && arm-none-eabi-gcc $core $safe -w -I"$bearssl/src" -c $library)
  (cd "$out/objects" && arm-none-eabi-gcc $core $safe $strict -I"$here" -c "$here"/*.c "$here"/libc/*.c "$here/$board"/*.c)
  arm-none-eabi-gcc $core -T "$here/$board/devauth.ld" -Wl,--gc-sections -Wl,--no-warn-rwx-segments -Wl,-Map="$out/devauth.map" "$out"/objects/*.o -lgcc -o "$out/devauth.elf"
  arm-none-eabi-gcc $core -Wl,-Ttext=0x10000000 -Wl,-e,reset "$here/$board/bootrom.S" -o "$out/bootrom.elf"
}
arm-none-eabi-objcopy -O binary "$out/devauth.elf" "$out/devauth.bin"
arm-none-eabi-size "$out/devauth.elf"
