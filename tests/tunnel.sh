#!/usr/bin/env bash
# A Redis that speaks TLS alone, through the tunnel of docs/stores.md: its stunnel.conf as it stands there, before a server of the
# name in it. Then a server of another name, which must not be reached.
#
#     tests/tunnel.sh target/release/streamer
#
# In namespaces of its own, where names, authorities and ports are as the document has them. Needs root, stunnel4, openssl and a
# redis-server with TLS.
set -euo pipefail
if [ "${2:-}" != inside ]; then
  exec unshare --net --mount --pid --fork --kill-child --mount-proc bash "$0" "$(realpath "$1")" inside
fi
program=$1
document=$PWD/docs/stores.md
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
ip link set lo up
echo "127.0.0.1 localhost redis.example.com" >hosts
mount --bind hosts /etc/hosts
mkdir authorities
mount --bind authorities /etc/ssl/certs

authority() { openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=authority -keyout ca.key -out /etc/ssl/certs/ca.pem 2>said; }
authority
openssl rehash /etc/ssl/certs
certificate() {
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr" 2>said
  openssl x509 -req -in "$1.csr" -days 1 -CA /etc/ssl/certs/ca.pem -CAkey ca.key -CAcreateserial \
    -extfile <(echo "subjectAltName=DNS:$1") -out "$1.pem" 2>said
}
server() {
  redis-server --port 0 --tls-port 6380 --tls-cert-file "$1.pem" --tls-key-file "$1.key" --tls-auth-clients no \
    --requirepass secret --save '' >"$1.log" &
  server=$!
}
certificate redis.example.com
certificate redis.example.org

sed -n '/^; stunnel.conf/,/^```/{/^```/!p}' "$document" >stunnel.conf
stunnel stunnel.conf 2>stunnel.log
server redis.example.com
STREAMER_STORE=redis://:secret@127.0.0.1:6379 STREAMER_STORE_TIMEOUT=2s "$program" --listen 127.0.0.1:8100 --admin 127.0.0.1:8101 >log 2>said &
ready() { curl -sf --retry 9 --retry-connrefused -o answer http://127.0.0.1:8101/readyz; }
start() { curl -s -o answer -w '%{http_code}' -u bob:x -X POST "http://127.0.0.1:8100/?id=$1"; }
ready
[ "$(start a)$(start b)$(start c)$(start d)" = 201201201409 ]
kill "$server"; wait "$server" || true
[ "$(start a)" = 503 ]
server redis.example.org
until (exec 3<>/dev/tcp/127.0.0.1/6380) 2>said; do sleep 0.1; done
sleep 3    # longer than streamer waits before it tries a node again
[ "$(start a)" = 503 ]
kill "$server"; wait "$server" || true
server redis.example.com
ready
[ "$(start a)" = 201 ]
echo "through the tunnel, and only to the server of its name"
