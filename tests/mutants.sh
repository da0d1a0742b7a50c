#!/usr/bin/env bash
# Mutation testing (cargo-mutants) of what decides which branch is made, reused or deleted, and of what keeps anybody else's
# from it: prints how much of it the tests notice, and fails below 90 %. Takes many minutes: tests/run.sh --full.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/machine.sh
source tests/machine.sh

guards=(shared/src/plan.rs shared/src/branch.rs shared/src/slots.rs shared/src/record.rs)
tools=$LAKEBASE_CACHE/mutants
if [[ ! -x $tools/bin/cargo-mutants ]]; then
  step "Installing cargo-mutants"
  logged cargo install cargo-mutants --locked --version 27.1.0 --root "$tools"
fi

step "Mutating ${guards[*]}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# What is not caught is in the lists; the program's own exit code counts a single one as a failure.
"$tools/bin/cargo-mutants" mutants --package lakebase "${guards[@]/#/--file=}" --output "$scratch" --colors never \
  --timeout 300 -- --lib || true
lists=$scratch/mutants.out
count() { wc -l <"$lists/$1.txt"; }
caught=$(($(count caught) + $(count timeout)))
missed=$(count missed)
((caught + missed > 0)) || die "no mutant was tested"
cat "$lists/missed.txt"
percent=$((100 * caught / (caught + missed)))
printf 'mutants: %s of %s caught (%s %%)\n' "$caught" "$((caught + missed))" "$percent"
((percent >= 90))
