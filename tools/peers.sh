#!/usr/bin/env bash
# Runs the same work through ouroboros, rustic and restic in turn, several times, and prints medians and ratios.
#
#   tools/peers.sh [--runs N] [--size MIB] [--work DIR] [--ouroboros BINARY] [--rustic BINARY] [--only random|tree] [--json FILE]
#
# Every program in its default settings, all stores and corpora on tmpfs. A peer that cannot be had is left out and said
# to be. What is measured: import of the corpus into a fresh store, import again of the same unchanged corpus, and
# export into an empty directory, which is compared with the corpus.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
runs=3
size=1024
work=/dev/shm/ouroboros-peers.$$
ouroboros=$root/target/release/ouroboros
rustic=
only=
json=

usage() {
    sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
        --runs) runs=$2 ;;
        --size) size=$2 ;;
        --work) work=$2 ;;
        --ouroboros) ouroboros=$2 ;;
        --rustic) rustic=$2 ;;
        --only) only=$2 ;;
        --json) json=$2 ;;
        *) usage ;;
    esac
    shift 2
done

say() { printf '%s\n' "$*" >&2; }

# --- the programs -----------------------------------------------------------------------------------------------------

if [ ! -x "$ouroboros" ]; then
    say "building ouroboros"
    (cd "$root" && cargo build --release -p ouroboros-tools)
fi

find_rustic() {
    local peers=$root/target/peers
    if [ -n "$rustic" ]; then return; fi
    if command -v rustic >/dev/null; then
        rustic=$(command -v rustic)
    elif [ -x "$peers/bin/rustic" ]; then
        rustic=$peers/bin/rustic
    else
        say "installing rustic into $peers (slow, once)"
        if cargo install rustic-rs --locked --root "$peers" >&2; then rustic=$peers/bin/rustic; fi
    fi
}

find_restic() {
    if ! command -v restic >/dev/null; then
        say "installing restic"
        { apt-get update -qq && apt-get install -y -qq restic; } >&2 || true
    fi
}

programs=(ouroboros)
find_rustic
if [ -n "$rustic" ] && "$rustic" --version >&2; then programs+=(rustic); else say "rustic: not to be had, left out"; fi
find_restic
if command -v restic >/dev/null; then programs+=(restic); else say "restic: not to be had, left out"; fi

# --- the corpora ------------------------------------------------------------------------------------------------------

mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
export HOME=$work/home XDG_CACHE_HOME=$work/cache XDG_CONFIG_HOME=$work/config XDG_DATA_HOME=$work/data
export OUROBOROS_PASSPHRASE=peers RESTIC_PASSWORD=peers RUSTIC_PASSWORD=peers
mkdir -p "$HOME"

make_random() {
    mkdir -p "$work/random"
    head -c "$((size * 1024 * 1024))" /dev/urandom >"$work/random/bytes"
}

# About 20,000 files and 1 GB: sources, documentation, libraries and programs that are on the machine. First many files
# from places with small ones, then large ones until there is enough.
make_tree() {
    local target=$work/tree toolchain
    mkdir -p "$target"
    toolchain=$(rustc --print sysroot 2>/dev/null || true)
    {
        pick 8000 160 "${CARGO_HOME:-$real_home/.cargo}/registry/src"
        pick 5000 80 /usr/include
        pick 4000 60 /usr/lib/python3 /usr/lib/python3.11 /usr/share/perl
        pick 4000 60 /usr/share/doc
        pick 6000 150 "$toolchain/share/doc"
        pick 1500 400 /usr/bin "$toolchain/bin"
        pick 1500 500 /usr/lib/x86_64-linux-gnu /usr/lib/gcc "$toolchain/lib"
    } | tar --null -T - -cf - -P 2>/dev/null | tar -xf - -C "$target" 2>/dev/null || true
    say "tree: $(find "$target" -type f | wc -l) files, $(du -sm "$target" | cut -f1) MiB"
}

# Names of at most COUNT files of at most MIB together, from these places, in a fixed order.
pick() {
    local count=$1 mib=$2
    shift 2
    find "$@" -xdev -type f -size -30M -printf '%s %p\0' 2>/dev/null | sort -z -k 2 |
        awk -v RS='\0' -v count="$count" -v limit="$((mib * 1024 * 1024))" '
            sum + $1 <= limit && taken < count { sum += $1; taken++; sub(/^[0-9]+ /, ""); printf "%s%c", $0, 0 }' || true
}

real_home=$(getent passwd "$(id -u)" | cut -d: -f6)

# --- the work ---------------------------------------------------------------------------------------------------------

results=$work/results.tsv
: >"$results"

# Runs a command quietly, and notes how long it took and the most memory it had.
timed() {
    local corpus=$1 program=$2 what=$3 start end
    shift 3
    start=$(date +%s%N)
    if ! "$@" >"$work/log" 2>&1; then
        say "$program $what failed:"
        tail -20 "$work/log" >&2
        return 1
    fi
    end=$(date +%s%N)
    printf '%s\t%s\t%s\t%s\n' "$corpus" "$what" "$program" "$(((end - start) / 1000))" >>"$results"
}

# Touches as much memory as a turn needs, and lets go of it. In a virtual machine the first touch of a page may cost more
# than what is measured, and whoever comes first would pay for it.
warm() {
    head -c "$((3 * $1))" /dev/zero >"$work/warm"
    rm "$work/warm"
}

check() { diff -r --no-dereference "$1" "$2" >/dev/null || { say "$3: the export differs from the corpus"; exit 1; }; }

run_ouroboros() {
    local corpus=$1 from=$2 store=$work/store out=$work/out
    rm -rf "$XDG_CONFIG_HOME"
    "$ouroboros" --store "$store" -q init 2>/dev/null
    timed "$corpus" ouroboros import "$ouroboros" --store "$store" import "$from/."
    timed "$corpus" ouroboros reimport "$ouroboros" --store "$store" import "$from/."
    timed "$corpus" ouroboros export "$ouroboros" --store "$store" export latest "$out"
    check "$from" "$out" ouroboros
}

run_rustic() {
    local corpus=$1 from=$2 store=$work/store out=$work/out
    "$rustic" -r "$store" --no-cache init >/dev/null 2>&1
    timed "$corpus" rustic import "$rustic" -r "$store" backup "$from"
    timed "$corpus" rustic reimport "$rustic" -r "$store" backup "$from"
    timed "$corpus" rustic export "$rustic" -r "$store" restore "latest:$from" "$out"
    check "$from" "$out" rustic
}

run_restic() {
    local corpus=$1 from=$2 store=$work/store out=$work/out
    restic -r "$store" init >/dev/null 2>&1
    timed "$corpus" restic import restic -r "$store" backup "$from"
    timed "$corpus" restic reimport restic -r "$store" backup "$from"
    timed "$corpus" restic export restic -r "$store" restore latest --target "$out"
    check "$from" "$out$from" restic
}

for corpus in random tree; do
    if [ -n "$only" ] && [ "$only" != "$corpus" ]; then continue; fi
    "make_$corpus"
    bytes=$(find "$work/$corpus" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum + 0 }')
    printf '%s\tbytes\t-\t%s\n' "$corpus" "$bytes" >>"$results"
    for run in $(seq "$runs"); do
        for program in "${programs[@]}"; do
            say "$corpus, run $run of $runs: $program"
            warm "$bytes"
            "run_$program" "$corpus" "$work/$corpus"
            printf '%s\tstored\t%s\t%s\n' "$corpus" "$program" "$(du -s --block-size=1 "$work/store" | cut -f1)" >>"$results"
            rm -rf "$work/store" "$work/out" "$work/cache"
        done
    done
    rm -rf "${work:?}/$corpus"
done

# --- the figures ------------------------------------------------------------------------------------------------------

# Medians, rates, and how many times faster than each peer ouroboros is; as a table, and as one JSON object a line.
python3 - "$results" "${json:-/dev/null}" "$runs" <<'PYTHON'
import json, statistics, sys

values, sizes = {}, {}
for line in open(sys.argv[1]):
    corpus, what, program, value = line.rstrip("\n").split("\t")
    if what == "bytes":
        sizes[corpus] = int(value)
    else:
        values.setdefault((corpus, what, program), []).append(int(value))
medians = {key: statistics.median(found) for key, found in values.items()}
out = open(sys.argv[2], "w")
print(f"{'corpus':8} {'what':9} {'program':10} {'median':>10} {'rate':>11}  ouroboros against it (runs: {sys.argv[3]})")
for (corpus, what, program), median in medians.items():
    own = medians.get((corpus, what, "ouroboros"))
    ratio = median / own if own else None
    row = {"type": "peer", "corpus": corpus, "what": what, "program": program, "runs": values[corpus, what, program]}
    if what == "stored":
        shown, rate = f"{median / 1e6:.1f} MB", f"{median / sizes[corpus]:.3f} of it"
        row.update(bytes=median, corpus_bytes=sizes[corpus])
        verdict = f"{1 / ratio:.3f}x the size" if program != "ouroboros" and ratio else ""
    else:
        shown, rate = f"{median / 1e6:.3f} s", f"{sizes[corpus] / median:.0f} MB/s"
        row.update(seconds=median / 1e6, megabytes_per_second=sizes[corpus] / median)
        verdict = f"{ratio:.2f}x as fast" if program != "ouroboros" and ratio else ""
    row["ratio"] = ratio
    print(f"{corpus:8} {what:9} {program:10} {shown:>10} {rate:>11}  {verdict}")
    out.write(json.dumps(row) + "\n")
PYTHON
