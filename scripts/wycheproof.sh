#!/bin/sh
# Fetches the vectors of Project Wycheproof (eb35c25e, December 2019), which the source of BoringSSL brings, and prints the folder.
#   scripts/wycheproof.sh
sha256=583b7aeee1fca68b8244d086cea6fca23bd19d517bd63f0b9de714e048f92a7d
version=13.0.0+r24
package=android-platform-external-boringssl
exec "$(dirname "$0")/debianSource.sh" "$package" "${package}_$version.orig.tar.xz" "$sha256" wycheproof-eb35c25e \
  "$package-$version/src/third_party/wycheproof_testvectors"
