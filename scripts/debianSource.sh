#!/bin/sh
# Fetches files of a Debian source package, as apt-get verifies it, and prints the folder. Does nothing else when the folder is there.
#   scripts/debianSource.sh PACKAGE TARBALL SHA256 FOLDER [INSIDE]
# FOLDER is a name in the cache of this user; INSIDE is the folder of the tarball that is taken, by default its first.
set -eu
package=$1 tarball=$2 sha256=$3 inside=${5:-}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nusec
folder=$cache/$4
[ -d "$folder" ] && echo "$folder" && exit 0

mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache" "$work/taken"
echo 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main' > "$work/sources.list"
cd "$work"
apt() {
  apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$work/lists" \
    -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@" >&2
}
apt update
apt source --download-only "$package"
echo "$sha256  $tarball" | sha256sum --check --quiet >&2
# As many folders are above what is taken as there are slashes.
strip=$(printf '%s' "$inside" | tr -cd / | wc -c)
tar xf "$tarball" -C taken --strip-components=$((strip + 1)) ${inside:+"$inside"}
# Two of us may have been here: the first one wins.
mv -T taken "$folder" 2> /dev/null || [ -d "$folder" ]
echo "$folder"
