#!/usr/bin/env bash
# tools/mutants.sh [OPTION OF CARGO-MUTANTS…]: plants single mistakes in the engine's recovery, deletion, sealing and encoding, one
# after the other, and runs the short simulation on each (.cargo/mutants.toml). Hundreds of builds: hours. A part of them is
# `tools/mutants.sh --shard 3/20`; the files of one noun `tools/mutants.sh -f 'engine/src/deletion/*.rs'`.
#
# Ends with the figures and the list of those that nobody noticed; those that are not in docs/MUTANTS.md yet are marked `new`, and
# end it with 1.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo mutants --version > /dev/null 2>&1 || cargo install --quiet --locked cargo-mutants
export CARGO_PROFILE_DEV_DEBUG=0

# Ends with 2 where a mutant was missed, 3 where one timed out: both are in its lists.
status=0
cargo mutants --no-shuffle --baseline=run --package ouroboros-engine --output target/mutants "$@" || status=$?
case $status in 0 | 2 | 3) ;; *) exit "$status" ;; esac

out=target/mutants/mutants.out
count() { wc -l < "$out/$1.txt"; }
caught=$(($(count caught) + $(count timeout))) missed=$(count missed)
viable=$((caught + missed))
printf '\n%d mutants: %d do not build; of the %d that do, %d are noticed (%d by their time), %d are not: %d %%\n' \
    $((viable + $(count unviable))) "$(count unviable)" "$viable" "$caught" "$(count timeout)" "$missed" \
    $((viable > 0 ? caught * 100 / viable : 100))
new=0
while read -r mutant; do
    # The line's number moves with every change above it; the rest names the mutant.
    name=$(sed -E 's/:[0-9]+:[0-9]+: /: /' <<< "$mutant")
    if grep -qF -- "$name" docs/MUTANTS.md; then
        printf '    known  %s\n' "$mutant"
    else
        printf '    new    %s\n' "$mutant"
        new=1
    fi
done < "$out/missed.txt"
exit $new
