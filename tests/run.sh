#!/usr/bin/env bash
# Runs every check of the house once: form, unit and property tests, and end to end with the real Docker, Compose and
# PostgreSQL. Installs and starts what the machine lacks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

help() {
  cat <<'HELP'
Usage: tests/run.sh [--help] [--full] [NAME]

  NAME     only the tests whose name contains this, without the checks of form
  --full   also the tests that take many minutes

What the machine lacks is installed from the system's packages (Debian and Ubuntu).
CARGO_TARGET_DIR keeps what is built outside of the clone; with CI set it goes into LAKEBASE_CACHE.
HELP
}

only='' full=''
for word in "$@"; do
  case $word in
    -h | --help) help && exit ;;
    --full) full=1 ;;
    -*) help >&2 && exit 64 ;;
    *) only=$word ;;
  esac
done

# shellcheck source=tests/machine.sh
source tests/machine.sh
export LAKEBASE_CACHE
has cargo || die "cargo is missing: install Rust with rustup (rustup.rs)"
machine_install docker engine compose postgres psql pgbench libpq cc git python node rails strace chromium
machine_start
# A clone of CI is thrown away; what it built serves the next one, but must not fill the disk. Nothing there is compiled
# often enough for cargo's incremental files to pay.
if [[ -n ${CI:-} ]]; then
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$LAKEBASE_CACHE/target} CARGO_INCREMENTAL=0
  if (($(du -sm "$CARGO_TARGET_DIR" 2>/dev/null | cut -f 1) + 0 > 8192)); then rm -rf "$CARGO_TARGET_DIR"; fi
fi

results=$(mktemp)
trap 'rm -f "$results"' EXIT
tests/images/build.sh >"$results"
set -a
# shellcheck disable=SC1090
source "$results"
set +a

if [[ -z $only ]]; then
  step "Form"
  cargo fmt --all -- --check
  cargo clippy --workspace --all-targets --quiet -- -D warnings
fi
step "Building"
cargo build --workspace --quiet
cargo test --workspace --quiet --no-run
# As install.sh puts it into the user's data folder.
LAKEBASE_GATEWAY_DIR=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/gateway
export LAKEBASE_GATEWAY_DIR
logged gateway/image.sh --into "$LAKEBASE_GATEWAY_DIR"

step "Tests"
status=0
# A test that takes many minutes is `#[ignore]`d, with this option's name as its reason.
cargo test --workspace --no-fail-fast --quiet -- ${full:+--include-ignored} ${only:+"$only"} 2>&1 | tee "$results" || status=1
read -r passed failed < <(awk '/^test result:/ { passed += $4; failed += $6 } END { print passed + 0, failed + 0 }' "$results")
left_out=()
for script in tests/*_test.sh ${full:+tests/mutants.sh}; do
  [[ $script == *"$only"* ]] || continue
  step "$script"
  code=0
  "$script" || code=$?
  case $code in
    0) passed=$((passed + 1)) ;;
    77) left_out+=("$script") ;;
    *) failed=$((failed + 1)) status=1 ;;
  esac
done

((passed + failed + ${#left_out[@]} > 0)) || die "no test is called \`$only\`"
printf '\n%s passed, %s failed\n' "$passed" "$failed"
((${#left_out[@]} == 0)) || printf 'not run here: %s\n' "${left_out[*]}"
exit "$status"
