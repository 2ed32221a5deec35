# Sourced by .ci/run and .ci/long: one headline per step, its seconds after it, and the name of the step that failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# No tool fetches a compiler behind our back: a green run is reproducible.
export RUSTUP_DIST_SERVER=http://127.0.0.1:9 RUSTUP_UPDATE_ROOT=http://127.0.0.1:9
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

step_name=
step_times=()
trap 'status=$?; [ $status -eq 0 ] || printf "\n!!! FAILED (exit %s) in step: %s\n" "$status" "${step_name:-start}" >&2' EXIT

# step NAME COMMAND [ARGUMENT…]: runs the command with nothing on its standard input; a failure ends the run.
step() {
    local started=$SECONDS
    step_name=$1
    shift
    printf '\n=== %s: %s\n' "$step_name" "$*"
    "$@" < /dev/null
    printf -- '--- %s: %d s\n' "$step_name" $((SECONDS - started))
    step_times+=("$(printf '%5d s  %s' $((SECONDS - started)) "$step_name")")
    step_name=
}

summary() {
    printf '\n%s\n' "$1"
    printf '%s\n' "${step_times[@]}"
}
