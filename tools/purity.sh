#!/usr/bin/env bash
# The engine is pure: no clock, thread, file, socket, process, entropy or hash-map order. Clippy refuses what
# engine/clippy.toml names; this script makes sure that clippy is not blind, not overruled and not bypassed.
#
#   1. every entry of engine/clippy.toml is refused in a crate that uses it, so that a misspelt path cannot pass
#   2. nothing in the engine switches those lints off; only its benches may, which measure real files and clocks, and
#      one line for the feature `planted`
#   3. no dependency of the engine draws entropy or does I/O (by name, on wasm32)
#   4. nothing that is not the simulator asks for the feature `planted`, and it is nobody's default
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    printf 'purity: %s\n' "$*" >&2
    exit 1
}

# 1. A crate that does everything forbidden. One line per entry; each must be refused by its own name.
canary=target/purity-canary
mkdir -p "$canary/src"
cp engine/clippy.toml "$canary/clippy.toml"
cat > "$canary/Cargo.toml" <<'TOML'
[package]
name = "purity-canary"
version = "0.0.0"
edition = "2024"
[workspace]
TOML
entries() { # entries <list>: the paths of one list of engine/clippy.toml
    sed -n "/^$1 = \[/,/^\]/s/.*path = \"\([^\"]*\)\".*/\1/p" engine/clippy.toml
}
{
    n=0
    echo '#![allow(unused, deprecated)]'
    entries disallowed-types | while read -r path; do
        case $path in
        std::collections::HashMap) echo "pub type T$((++n)) = $path<u8, u8>;" ;;
        std::collections::HashSet | std::thread::JoinHandle | std::thread::LocalKey | std::sync::mpsc::*)
            echo "pub type T$((++n)) = $path<u8>;" ;;
        std::thread::Scope) echo "pub type T$((++n)) = $path<'static, 'static>;" ;;
        *) echo "pub type T$((++n)) = $path;" ;;
        esac
    done
    # A function is refused where it is named, so naming it is enough.
    echo 'pub fn functions() {'
    entries disallowed-methods | while read -r path; do
        case $path in
        std::thread::spawn) echo "    let _ = $path::<fn(), ()>;" ;;
        std::thread::scope) echo "    $path(|_| ());" ;;
        std::sync::mpsc::*channel) echo "    let _ = $path::<u8>;" ;;
        std::fs::copy | std::fs::rename | std::fs::hard_link | std::fs::write) echo "    let _ = $path::<&str, &str>;" ;;
        std::fs::*) echo "    let _ = $path::<&str>;" ;;
        std::env::var | std::env::var_os) echo "    let _ = $path::<&str>;" ;;
        std::net::ToSocketAddrs::*) echo '    let _ = std::net::ToSocketAddrs::to_socket_addrs(&("h", 1));' ;;
        *) echo "    let _ = $path;" ;;
        esac
    done
    echo '}'
    echo 'std::thread_local! { static S: u8 = const { 0 }; }'
} > "$canary/src/lib.rs"
log=$canary/clippy.log
if cargo clippy --quiet --offline --manifest-path "$canary/Cargo.toml" --target-dir "$canary/target" \
    -- -D clippy::disallowed_types -D clippy::disallowed_methods -D clippy::disallowed_macros 2> "$log"; then
    fail "a crate that does everything forbidden passed clippy"
fi
if grep -E '^error(\[E[0-9]+\])' -A 3 "$log" >&2; then
    fail "engine/clippy.toml names something that does not exist (above), or tools/purity.sh does not know how to use it"
fi
missing=0
count=0
for path in $(entries disallowed-types) $(entries disallowed-methods) $(entries disallowed-macros); do
    count=$((count + 1))
    grep -qE "use of a disallowed (type|method|macro) \`$path\`" "$log" || {
        printf 'purity: %s is listed in engine/clippy.toml but using it was not refused\n' "$path" >&2
        missing=1
    }
done
[ "$missing" = 0 ] || fail "see $log"
[ "$count" -gt 0 ] || fail "engine/clippy.toml names nothing"
echo "purity: all $count forbidden items are refused"

# 2. The lists cannot be switched off inside the engine.
only_planted='#!\[cfg_attr\(feature = "planted", allow\(clippy::disallowed_macros, clippy::disallowed_types\)\)\]$'
if grep -rnE 'disallowed_(types|methods|macros)' engine --include='*.rs' --include='Cargo.toml' --exclude-dir=benches \
    | grep -vE "^engine/src/lib.rs:[0-9]+:$only_planted"; then
    fail "the lines above change a lint that keeps the engine pure"
fi
grep -q '^workspace = true' <(sed -n '/^\[lints\]/,$p' engine/Cargo.toml) || fail "engine/Cargo.toml does not take the workspace's lints"

# 3. What the engine links on wasm32, where nothing can hide behind the operating system.
tree=$(cargo tree --locked -p ouroboros-engine --target wasm32-unknown-unknown -e normal --prefix none --no-dedupe --format '{p}' | sort -u)
grep -q '^ouroboros-engine ' <<< "$tree" || fail "cargo tree does not show the engine"
if grep -E '^(getrandom|rand|fastrand|instant|web-time|wasm-bindgen|js-sys|tokio|mio|async-std|smol|rustix|nix|socket2|rayon|crossbeam-channel|num_cpus|chrono|time) ' <<< "$tree"; then
    fail "the engine must not depend on the crates above (cargo tree -p ouroboros-engine --target wasm32-unknown-unknown -e normal -i NAME)"
fi
echo "purity: none of the engine's $(wc -l <<< "$tree") crates draws entropy, reads a clock or does I/O"

# 4. The product has no planted bugs: neither what is built by default, nor anything that asks for the feature by name.
for crate in ouroborosdb ouroboros-tools ouroboros-tests ouroboros-sim; do
    features=$(cargo tree --locked -p "$crate" -e features --prefix none --no-dedupe | sort -u)
    grep -q '^ouroboros-engine ' <<< "$features" || fail "cargo tree does not show the engine under $crate"
    if grep -F 'feature "planted"' <<< "$features"; then
        fail "$crate has planted bugs"
    fi
done
if grep -n 'planted' Cargo.toml io/Cargo.toml tools/Cargo.toml tests/Cargo.toml fuzz/Cargo.toml | grep -v 'cfg(planted)'; then
    fail "the lines above ask for planted bugs; only sim/Cargo.toml passes the feature on"
fi
if grep -rn 'thread_local!' engine/src | grep -v '^engine/src/planted.rs:'; then
    fail "the engine keeps no state per thread"
fi
# Those of the adapters take a flag of the compiler, which only their simulators' own command gives.
if grep -rn -e '--cfg[ =",]*planted' .cargo .ci Cargo.toml io tools --include='*' | grep -vE '^(tools/purity.sh|io/src/planted.rs):'; then
    fail "the lines above build with planted mistakes; only sim/adapters/run does"
fi
echo "purity: no product has planted bugs"
