#!/usr/bin/env bash
# tools/mutants.sh [OPTION OF CARGO-GAMMA…]: plants single mistakes in the engine's recovery, deletion, sealing and encoding, one
# after the other, and runs the short simulation on each: 200 worlds, those beyond the budget, and the kept schedules. All of them
# are in one program that is built once. Then the engine's own tests are run on those that the simulation did not notice, and on those
# that these did not either the stores of which stretches are refused for a while.
# A part is `tools/mutants.sh --shard-count 20 --shard-index 3`, a noun `tools/mutants.sh --re 'src/deletion/'`.
#
# Ends with the figures and the list of those that nobody noticed; those that are not in docs/MUTANTS.md yet are marked `new`, and
# end it with 1.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo gamma --version > /dev/null 2>&1 || cargo install --quiet --locked cargo-gamma@0.4.0
cargo fetch --quiet --locked
out=target/mutants
mkdir -p "$out"
export CARGO_PROFILE_SIM_DEBUG=0

# What could lose, leak or bring back data.
files=(--file='engine/src/store/log/*.rs' --file='engine/src/deletion/*.rs' --file='engine/src/node/purge.rs'
    --file='engine/src/node/unread.rs' --file='engine/src/node/replay.rs'
    --file='engine/src/seal/*.rs' --file='engine/src/codec/*.rs' --file='engine/src/blob/*.rs')
mutators=fn_value,relational,bitwise,shift,unary,stmt,match_arm,struct_field
mutators+=,arith,!arith.add_to_mul,!arith.sub_to_div,!arith.mul_to_add,assign,!assign.add_to_mul
mutators+=,logical.and_to_or,logical.or_to_and,cond.always_true,cond.always_false,match_guard.always_true,match_guard.always_false
mutate() {
    cargo gamma run --no-config --no-relaunch --artifact-dir "$out" --package ouroboros-engine --no-default-features \
        --profile sim --jobs "$(nproc)" --minimum-test-timeout 30 --mutators "$mutators" "${files[@]}" "$@"
}
# One line each: its file, what is replaced by what, and how. The line's number moves with every change above it.
missed() { sed -nE 's/.*SURVIVED ([^:]+):[0-9]+:[0-9]+: (.*)/\1: \2/p' "$1" | sed '/planted(/d' | sort -u; }

mutate --test-package ouroboros-sim --include-test seeds "$@" -- two_hundred beyond_the_budget what_was_found | tee "$out/simulation.txt"
missed "$out/simulation.txt" > "$out/unseen.txt"
mutate --test-package ouroboros-engine --test-lib --only-survivors | tee "$out/tests.txt"
mutate --test-package ouroboros-tests --include-test out_of_reach --only-survivors | tee "$out/refused.txt"
missed "$out/refused.txt" > "$out/missed.txt"

printf '\n%d mutants were not noticed by the simulation, and %d of them by no other test either:\n' \
    "$(wc -l < "$out/unseen.txt")" "$(wc -l < "$out/missed.txt")"
new=0
while read -r mutant; do
    # A bar would end the cell of the document's table.
    if grep -qF -- "${mutant//|/\\|}" docs/MUTANTS.md; then
        printf '    known  %s\n' "$mutant"
    else
        printf '    new    %s\n' "$mutant"
        new=1
    fi
done < "$out/missed.txt"
exit $new
