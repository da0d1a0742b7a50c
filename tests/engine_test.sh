#!/usr/bin/env bash
# A gateway over a restart of the Docker engine. The machine's own engine is restarted, so this happens only where
# tests/machine.sh started it; an engine that others use is left alone, and that is said.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/machine.sh
source tests/machine.sh
export LAKEBASE_CACHE

if ! is_process "$(cat "$DOCKERD_OURS" 2>/dev/null || true)" dockerd; then
  warn "not run: tests/machine.sh did not start this Docker Engine, so its restart might harm others"
  exit 77 # Neither passed nor failed.
fi
cargo test --quiet -p e2e --features engine --test engine
