#!/usr/bin/env bash
# Builds the engine for wasm32-unknown-unknown, links it and runs it: proof that it needs nothing of an operating system.
#
# The standard library for that target comes from Debian's sources, built by Debian's compiler (package rustc-web), because
# the stable toolchain's own component can only be downloaded by rustup; zstd's C is compiled by clang. Node.js runs the
# linked module: it may import nothing, and its digest must be that of the native build.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(rustc-web rust-web-src clang-22 lld-22 libclang-rt-22-dev-wasm32)
command -v node > /dev/null || packages+=(nodejs)
missing=()
for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get > /dev/null || [ "$(id -u)" != 0 ]; then
        printf 'wasm-build: missing packages: %s\n' "${missing[*]}" >&2
        printf 'wasm-build: install them as root with: apt-get update && apt-get install --no-install-recommends %s\n' "${missing[*]}" >&2
        printf 'wasm-build: (Debian 12 with its security archive has them). This check is never skipped.\n' >&2
        exit 1
    fi
    echo "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
fi

# One setting for the linker: it is part of cargo's fingerprint, and changing it rebuilds the standard library.
export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-22
export CC_wasm32_unknown_unknown=clang-22 AR_wasm32_unknown_unknown=ar
"$RUSTC" --version
target=(--release -Zbuild-std=std,panic_abort --target wasm32-unknown-unknown --target-dir target/wasm)
cargo build --locked "${target[@]}" -p ouroboros-engine -p ouroboros-tests --lib --bin portable

module=target/wasm/wasm32-unknown-unknown/release/portable.wasm
node - "$module" << 'JS'
const { readFileSync } = require("fs");
const module = new WebAssembly.Module(readFileSync(process.argv[2]));
const imports = WebAssembly.Module.imports(module);
if (imports.length > 0) {
    console.error("wasm-build: the module asks its host for", imports.map((i) => `${i.module}.${i.name}`).join(", "));
    process.exit(1);
}
try {
    const { main } = new WebAssembly.Instance(module).exports;
    main(0, 0);
} catch (error) {
    console.error(`wasm-build: ${error}; natively: cargo run -p ouroboros-tests --bin portable`);
    process.exit(1);
}
console.log("wasm-build: the engine imports nothing and gives the expected digest");
JS
ls -l "$module" | awk '{ print "wasm-build: " $5 " bytes" }'
