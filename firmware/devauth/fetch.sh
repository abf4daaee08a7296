#!/bin/sh
# Fetches the source of BearSSL and prints the folder.
#   firmware/devauth/fetch.sh
sha256=102a625bd8f6155260867a50c508df8d8c3f796985dd744df1a68e5cd1a79004
exec "$(dirname "$0")/../../scripts/debianSource.sh" bearssl bearssl_0.6+dfsg.1.orig.tar.xz "$sha256" bearssl-0.6
