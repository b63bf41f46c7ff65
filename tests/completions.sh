#!/usr/bin/env bash
# The completions and the man page as `ops/manual.py` makes them of what the program says: each shell reads its own and answers by it, and the page
# has no faults. Needs bash, zsh, fish, man and mandoc.
#   tests/completions.sh target/release/streamer
set -euo pipefail
program=$(realpath "$1")
manual=$(realpath "$(dirname "$0")/../ops/manual.py")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir bin
ln -s "$program" bin/streamer
PATH=$dir/bin:$PATH
for topic in bash zsh fish man; do "$manual" "$topic" >"$topic"; done
touch users.txt

same() { [ "$2" = "$3" ] || { printf '%s:\n  %s\nnot\n  %s\n' "$1" "$2" "$3"; exit 1; }; }

# What is offered behind a line, in one line and in order.
offers_bash() {
  bash -c 'source ./bash; compopt() { :; }; COMP_LINE=$1 COMP_POINT=${#1}; _streamer
    printf "%s\n" "${COMPREPLY[@]}"' - "$1" | sort | xargs
}
offers_fish() { fish --no-config -c 'source ./fish; complete -C $argv[1] | string split -f1 \t' "$1" | sort | xargs; }

rows() {
  local offers=$1 line offered
  while IFS='|' read -r line offered; do same "$offers: $line" "$("$offers" "$line")" "$offered"; done
}
both='streamer |check help key serve token
streamer ser|serve
streamer --when|--when-full
streamer --when-full |refuse replace-oldest report
streamer serve --sync s|second
streamer --limit 5 --log |json off text
streamer --limit |
streamer token ann --|--admin --audience --class --help --limit --secret --ttl
streamer check http|
streamer help |check key token'
rows offers_bash <<<"$both
streamer --when-full=re|refuse replace-oldest report
streamer --store dir:/|
streamer --users |"
rows offers_fish <<<"$both
streamer --when-full=ref|--when-full=refuse
streamer --users u|users.txt"

bash -n bash
fish --no-execute fish
zsh -n zsh
zsh -fc 'autoload -U compinit; compinit -D -u; source ./zsh; (( $+_comps[streamer] ))'

# A page has no date of its own that would have to be kept.
faults=$(mandoc -T lint -W warning man | grep -v -e 'missing date' -e STYLE || true)
same "mandoc" "$faults" ""
same "man" "$(man --warnings -l man 2>&1 >page)" ""
for flag in $(streamer --help | grep -o '^  --[a-z-]*'); do
  grep -q -- "^       $flag\b" page || { echo "the page lacks $flag"; exit 1; }
done
echo "bash, zsh, fish and man take what they are given"
