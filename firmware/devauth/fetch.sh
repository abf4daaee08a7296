#!/bin/sh
# Fetches the source of BearSSL from Debian, as apt-get verifies it, and prints the folder. Does nothing else when it is there.
#   firmware/devauth/fetch.sh
set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nusec
folder=$cache/bearssl-0.6
sha256=102a625bd8f6155260867a50c508df8d8c3f796985dd744df1a68e5cd1a79004
[ -d "$folder" ] && echo "$folder" && exit 0

mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache"
echo 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main' > "$work/sources.list"
cd "$work"
apt() {
  apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$work/lists" \
    -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@" >&2
}
apt update
apt source --download-only bearssl
echo "$sha256  bearssl_0.6+dfsg.1.orig.tar.xz" | sha256sum --check --quiet >&2
tar xf bearssl_0.6+dfsg.1.orig.tar.xz
# Two of us may have been here: the first one wins.
mv -T bearssl-0.6 "$folder" 2> /dev/null || [ -d "$folder" ]
echo "$folder"
