#!/usr/bin/env bash
# Plays the README's first session with the real command in an empty home directory and writes what it printed between the
# two session marks of README.md. With --check: plays it and demands that every command succeeds, but writes nothing (ids and
# times differ from run to run).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
check=0
case ${1:-} in
--check) check=1 ;;
'') ;;
*) echo "usage: tools/readme-session.sh [--check]" >&2 && exit 2 ;;
esac

cargo build --quiet --release --locked -p ouroboros-tools --bin ouroboros
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
mkdir -p "$home/photos/2026"
printf 'bread, milk\n' > "$home/today.txt"
printf 'bread, milk, apples\n' > "$home/later.txt"
# Not photographs, but files of a photograph's size that compress as badly; the same on every machine.
for n in 1 2 3; do
    openssl enc -aes-256-ctr -nosalt -K "$(printf '%064d' "$n")" -iv "$(printf '%032d' 0)" < /dev/zero 2> /dev/null \
        | head -c $((n * 700000)) > "$home/photos/2026/$n.jpg" || true
done
[ -s "$home/photos/2026/3.jpg" ] || { echo "readme-session: openssl made no test data" >&2; exit 1; }

commands=(
    'ouroboros put notes/today.txt today.txt'
    'ouroboros get notes/today.txt'
    'ouroboros put notes/today.txt later.txt'
    'ouroboros ls --recursive'
    'ouroboros log notes/today.txt'
    'ouroboros import photos'
    'ouroboros snapshots'
    'ouroboros export latest restored'
    'diff -r photos restored/photos'
    'ouroboros rm notes/today.txt'
    'ouroboros purge notes/today.txt'
    'ouroboros scrub'
    'ouroboros doctor'
)
session=$home/session
for command in "${commands[@]}"; do
    printf '$ %s\n' "$command"
    # Both streams, as on a terminal. The passphrase is empty, as a first try would have it.
    (cd "$home" && env -i PATH="$root/target/release:/usr/bin:/bin" HOME="$home" LANG=C.UTF-8 TZ=UTC NO_COLOR=1 \
        OUROBOROS_PASSPHRASE= bash -c "$command" < /dev/null 2>&1) | sed "s|$home|~|g" || {
        printf 'readme-session: failed: %s\n' "$command" >&2
        exit 1
    }
done | tee "$session"

if [ "$check" = 0 ]; then
    python3 - "$session" README.md <<'PY'
import re, sys
session = open(sys.argv[1], encoding="utf-8").read().rstrip("\n")
readme = open(sys.argv[2], encoding="utf-8").read()
mark = re.compile(r"(<!-- session[^\n]*-->\n).*?(<!-- /session -->)", re.S)
new, count = mark.subn(lambda m: f"{m[1]}```console\n{session}\n```\n{m[2]}", readme)
assert count == 1, "README.md has no session marks"
open(sys.argv[2], "w", encoding="utf-8").write(new)
PY
    echo "README.md: session rewritten"
fi
