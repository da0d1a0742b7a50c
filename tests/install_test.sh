#!/usr/bin/env bash
# install.sh as a newcomer runs it, in a home of its own: the demo from a fresh clone, again, and away without a trace.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/machine.sh
source tests/machine.sh

scratch=$(mktemp -d)
chmod 755 "$scratch" # PostgreSQL runs as a user of its own.
# The registry and the build output are this user's own, so that only what is ours is built again; the engine is the one
# that answers here, and Compose may be installed for this user alone.
export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
DOCKER_HOST=${DOCKER_HOST:-$(docker context inspect --format '{{.Endpoints.docker.Host}}')}
compose=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins/docker-compose
for name in "${!LAKEBASE_@}" "${!DATABRICKS_@}" "${!COMPOSE_@}" "${!TODO_@}" "${!GIT_@}" "${!PG@}" "${!XDG_@}"; do
  case $name in LAKEBASE_CACHE | LAKEBASE_IMAGES | LAKEBASE_EMBEDDED_POSTGRES_BIN | COMPOSE_MIN) ;; *) unset "$name" ;; esac
done
unset DOCKER_CONFIG DOCKER_CONTEXT
export LAKEBASE_CACHE DOCKER_HOST HOME=$scratch/home CARGO_INSTALL_ROOT=$scratch/cargo LAKEBASE_EMBEDDED_HOME=$scratch/embedded
export COMPOSE_PROJECT_NAME=lakebase-install-test PATH=$scratch/cargo/bin:$PATH

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
TODO_PORT=$(free_port) LAKEBASE_EMBEDDED_PORT=$(free_port)
export TODO_PORT LAKEBASE_EMBEDDED_PORT

finish() {
  local status=$?
  (cd "$scratch/clone" 2>/dev/null && ./install.sh --uninstall --purge >/dev/null 2>&1) || true
  docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" | xargs -r docker rm -f >/dev/null
  docker volume ls -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" | xargs -r docker volume rm >/dev/null
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

# The start of the id of the branch that is made for this git user and git branch.
branch_of() { printf '"db_source": *"lakebase/dev-%s-' "$(printf '%s-%s' "$1" "$2" | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9\n' -)"; }
demo() {
  SECONDS=0
  ./install.sh --demo --yes >"$scratch/demo" || { cat "$scratch/demo"; die "the demo failed"; }
  note "./install.sh --demo --yes took $SECONDS s"
  expect "the demo ends with what to open" grep -q "http://localhost:$TODO_PORT/api/tasks" "$scratch/demo"
  expect "the branch is named after git" grep -q "$(branch_of "$1" "$2")" <<<"$(get /api/info)"
  expect "the tasks are production's" grep -qE '"total": *1[0-9]{5}\b' <<<"$(get /api/tasks)"
  expect "the clone is clean" test -z "$(git status --porcelain)"
}

# Given a user with a Docker configuration and a fresh clone (with what is not committed yet), as CI makes one: on no git
# branch, and git does not know who the user is.
mkdir -p "$scratch"/{home/.docker/cli-plugins,cargo/bin,clone}
[[ ! -x $compose ]] || ln -s "$(readlink -f "$compose")" "$HOME/.docker/cli-plugins/docker-compose"
printf '{\n\t"auths": {},\n\t"detachKeys": "ctrl-e,e"\n}' >"$HOME/.docker/config.json"
git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -cf - 2>/dev/null | tar -xf - -C "$scratch/clone"
cd "$scratch/clone"
git init --quiet --initial-branch=main && git add --all
git -c user.name=Clone -c user.email=clone@example.com commit --quiet --message Clone
git switch --quiet --detach
before=$(listing)
config_before=$(cat "$HOME/.docker/config.json")

# A program of that name which is not ours is neither overwritten nor removed.
echo theirs >"$HOME/.docker/cli-plugins/docker-lakebase"
if ./install.sh >"$scratch/refused" 2>&1; then die "install.sh overwrote a foreign program"; fi
expect "the refusal names the file" grep -q cli-plugins/docker-lakebase "$scratch/refused"
expect "the foreign file stays" grep -qx theirs "$HOME/.docker/cli-plugins/docker-lakebase"
rm "$HOME/.docker/cli-plugins/docker-lakebase"

# Without --yes nothing is built or changed before git can name the branch.
if ./install.sh --demo >"$scratch/refused" 2>&1 </dev/null; then die "the demo ran on a detached HEAD without --yes"; fi
expect "the refusal says what to run" grep -qE 'git (config --global|switch -c) ' "$scratch/refused"
expect "nothing was changed" diff <(printf '%s\n' "$before") <(listing)

# When the demo runs so, and again for a user on a git branch, then production's tasks come from a branch named after them.
demo "$(git config user.name || id -un)" "lakebase-demo-$(git rev-parse --short HEAD)"
git config --global user.name 'Grace Hopper'
git config --global user.email grace@example.com
git switch --quiet main
before+=$'\nhome/.gitconfig'
demo 'Grace Hopper' main
expect "the gateway's image is there" docker image inspect "$(cat "$HOME/.local/share/lakebase/gateway/tag")" >/dev/null
expect "docker compose lakebase works as typed" docker compose lakebase --version >/dev/null
expect "production has the schema that Alembic makes" examples/todo/production/schema.sh >/dev/null

# And the way back leaves nothing but what was there.
docker compose --project-directory examples/todo --profile local create postgres 2>/dev/null
expect "the local mode has a volume" docker volume inspect "${COMPOSE_PROJECT_NAME}_postgres-data" >/dev/null
./install.sh --uninstall --purge 2>"$scratch/uninstall" || { cat "$scratch/uninstall"; die "the uninstall failed"; }
expect "nothing is left in the home" diff <(sort <<<"$before") <(listing)
expect "config.json is as it was" test "$config_before" = "$(cat "$HOME/.docker/config.json")"
expect "the embedded data is gone" test -z "$(find "$LAKEBASE_EMBEDDED_HOME" -type f ! -name lock 2>/dev/null)"
expect "git is as it was" test "$(git branch --format '%(refname:short)') $(git config --local user.name)" = "main "
for list in 'ps -a' 'volume ls' 'network ls'; do
  # shellcheck disable=SC2086 # Words.
  expect "docker $list is empty" test -z "$(docker $list -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")"
done
./install.sh --uninstall 2>/dev/null
