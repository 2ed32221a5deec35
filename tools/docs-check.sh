#!/usr/bin/env bash
# The documents hold together: every relative link leads to a file, no two decisions share a number, the license is
# complete, and the README's commands are those that CI runs.
set -euo pipefail
cd "$(dirname "$0")/.."

bad=0
complain() {
    printf 'docs-check: %s\n' "$*" >&2
    bad=1
}

while IFS= read -r document; do
    while IFS= read -r link; do
        target=${link%%#*}
        case $target in '' | *://* | mailto:*) continue ;; esac
        [ -e "$(dirname "$document")/$target" ] || complain "$document links to $link, which is not there"
    done < <(grep -oE '\]\([^) ]+\)' "$document" | sed 's/^](//; s/)$//')
done < <(git ls-files --cached --others --exclude-standard '*.md')

for document in README.md ARCHITECTURE.md REVIEW.md CHANGELOG.md LICENSE docs/FORMAT.md; do
    [ -s "$document" ] || complain "$document is missing"
done
# The text of the license, white space aside.
sum=$(tr -s '[:space:]' ' ' < LICENSE | sha256sum | cut -d' ' -f1)
[ "$sum" = 5f3393c70b8654cb7cfc11924fa9fcdbcd07e550a9e24fca7d0c389638094713 ] || complain "LICENSE is not the text of the AGPL, version 3"
grep -q '^license = "AGPL-3.0-only"' Cargo.toml || complain "Cargo.toml does not say AGPL-3.0-only"
grep -q 'cargo test --workspace' README.md || complain "README.md does not give the test command that CI runs"
grep -q 'cargo run --release --' README.md || complain "README.md does not give the command that runs the program"
for number in $(ls docs/decisions | cut -c1-4 | sort | uniq -d); do
    complain "two decisions have the number $number"
done
[ "$bad" = 0 ] || exit 1
echo "docs-check: links, license and commands hold"
