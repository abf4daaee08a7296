#!/bin/sh
# make-secrets.sh [DIR]: makes the files that docker-compose.yml reads as secrets, in DIR (default: secrets). What is there stays as it is.
# Run it as root, so that each file gets the user of its container: 10001 is NuSEC, 1001 the database (DATABASE_UID for another image).
set -eu
umask 077
dir=${1:-secrets}
databaseUid=${DATABASE_UID:-1001}
mkdir -p "$dir/ca"
cd "$dir"

own() { if [ "$(id -u)" = 0 ]; then chown "$1" "$2"; fi; }
random() {
  [ -e "$2" ] || printf '%s%s' "$3" "$(openssl rand -hex 32)" > "$2"
  own "$1" "$2"
}
random 10001 nusec-passphrase ''
random 10001 kurrentdb-credentials 'nusec:'
random "$databaseUid" kurrentdb-ops ''
random "$databaseUid" kurrentdb-admin ''
random 0 objects-password ''
[ -e objects-user ] || printf nusec > objects-user
[ -e objects-credentials ] || printf 'nusec:%s' "$(cat objects-password)" > objects-credentials
own 10001 objects-credentials
# Of the gateway: empty until there is a project, and a person has registered it (docs/deploy.md).
for file in nusec-root.pem gateway.token; do
  [ -e "$file" ] || : > "$file"
  own 10001 "$file"
done

# The database takes RSA keys only, and asks for keyEncipherment in the certificate of a node.
if [ ! -e ca.key ]; then
  openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj '/CN=NuSEC storage CA' \
    -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout ca.key -out ca/ca.crt 2> /dev/null
fi
chmod 755 . ca
chmod 644 ca/ca.crt
for node in db1 db2 db3 objects; do
  if [ ! -e "$node.key" ]; then
    openssl req -new -newkey rsa:3072 -nodes -subj '/CN=nusec-database' -keyout "$node.key" -out "$node.csr" 2> /dev/null
    printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature,keyEncipherment\n' "$node" > "$node.ext"
    openssl x509 -req -in "$node.csr" -CA ca/ca.crt -CAkey ca.key -CAcreateserial -days 825 -extfile "$node.ext" -out "$node.crt" 2> /dev/null
    rm "$node.csr" "$node.ext"
  fi
  own "$databaseUid" "$node.key"
  own "$databaseUid" "$node.crt"
done
# Under the names that the object store looks for; its container is root without capabilities.
mkdir -p objects
install -m 600 objects.key objects/private.key
install -m 644 objects.crt objects/public.crt
echo "made in $dir; move ca.key to a safe place: it is needed for new node certificates only"
