#!/usr/bin/env bash
# install.sh as a newcomer runs it, in a home of its own: the demo from a fresh clone, again, and away without a trace.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/machine.sh
source tests/machine.sh

scratch=$(mktemp -d)
chmod 755 "$scratch" # PostgreSQL runs as a user of its own.
# The registry and the build output are this user's own, so that only what is ours is built again.
export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} CARGO_INSTALL_ROOT=$scratch/cargo CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup} LAKEBASE_CACHE
export HOME=$scratch/home LAKEBASE_EMBEDDED_HOME=$scratch/embedded
export COMPOSE_PROJECT_NAME=lakebase-install-test PATH=$scratch/cargo/bin:$PATH
unset DOCKER_CONFIG XDG_DATA_HOME XDG_CONFIG_HOME "${!DATABRICKS_@}" LAKEBASE_PROFILE LAKEBASE_PROJECT_NAME

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
TODO_PORT=$(free_port) LAKEBASE_EMBEDDED_PORT=$(free_port)
export TODO_PORT LAKEBASE_EMBEDDED_PORT

finish() {
  local status=$?
  (cd "$scratch/clone" 2>/dev/null && ./install.sh --uninstall --purge >/dev/null 2>&1) || true
  docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" | xargs -r docker rm -f >/dev/null
  docker network ls -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" | xargs -r docker network rm >/dev/null
  rm -rf "$scratch"
  exit "$status"
}
trap finish EXIT

expect() {
  local what=$1
  shift
  "$@" || die "expected: $what"
}
# Without what Docker keeps there for itself.
listing() { (cd "$scratch" && find home cargo -name buildx -prune -o -print | sort); }
get() { python3 -c 'import sys, urllib.request as u; print(u.urlopen(f"http://127.0.0.1:{sys.argv[1]}{sys.argv[2]}").read().decode())' "$TODO_PORT" "$1"; }

# Given a user with a Docker configuration and git, and a fresh clone (with what is not committed yet).
mkdir -p "$scratch"/{home/.docker,cargo/bin,clone}
printf '{\n\t"auths": {},\n\t"detachKeys": "ctrl-e,e"\n}' >"$HOME/.docker/config.json"
git config --global user.name 'Grace Hopper'
git config --global user.email grace@example.com
git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -cf - 2>/dev/null | tar -xf - -C "$scratch/clone"
cd "$scratch/clone"
git init --quiet --initial-branch=main && git add --all && git commit --quiet --message Clone
before=$(listing)
config_before=$(cat "$HOME/.docker/config.json")

# A program of that name which is not ours is neither overwritten nor removed.
mkdir -p "$HOME/.docker/cli-plugins"
echo theirs >"$HOME/.docker/cli-plugins/docker-lakebase"
if ./install.sh >"$scratch/refused" 2>&1; then die "install.sh overwrote a foreign program"; fi
expect "the refusal names the file" grep -q cli-plugins/docker-lakebase "$scratch/refused"
expect "the foreign file stays" grep -qx theirs "$HOME/.docker/cli-plugins/docker-lakebase"
rm -r "$HOME/.docker/cli-plugins"

# When the demo runs, twice.
for round in first second; do
  SECONDS=0
  ./install.sh --demo --yes >"$scratch/demo" || { cat "$scratch/demo"; die "the $round demo failed"; }
  note "the $round ./install.sh --demo --yes took $SECONDS s"
done

# Then production's tasks are served from a branch named after git's user and branch.
expect "the demo ends with what to open" grep -q "http://localhost:$TODO_PORT/api/tasks" "$scratch/demo"
expect "the branch is named after git" grep -q '"db_source": *"lakebase/dev-grace-hopper-main-' <(get /api/info)
expect "the tasks are production's" grep -qE '"total": *1[0-9]{5}\b' <(get /api/tasks)
expect "the clone is clean" test -z "$(git status --porcelain)"
expect "docker compose lakebase works as typed" docker compose lakebase --version >/dev/null

# And the way back leaves nothing but what was there.
./install.sh --uninstall --purge 2>"$scratch/uninstall" || { cat "$scratch/uninstall"; die "the uninstall failed"; }
expect "nothing is left in the home" diff <(printf '%s\n' "$before") <(listing)
expect "config.json is as it was" test "$config_before" = "$(cat "$HOME/.docker/config.json")"
expect "the embedded data is gone" test ! -e "$LAKEBASE_EMBEDDED_HOME"
expect "no container is left" test -z "$(docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")"
./install.sh --uninstall 2>/dev/null
