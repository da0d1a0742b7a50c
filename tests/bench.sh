#!/usr/bin/env bash
# Speed beside a peer in the same run; nothing here is asserted. The pairs are run in turns, so that both feel the same
# machine, and the medians are printed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/machine.sh
source tests/machine.sh
# shellcheck disable=SC2119 # All parts.
machine_install
machine_start

tests/bench_gateway.sh
rounds=${LAKEBASE_BENCH_ROUNDS:-25}
scratch=$(mktemp -d)
chmod 755 "$scratch" # PostgreSQL runs as a user of its own.
step "Building"
cargo build --release --quiet -p cargo-lakebase -p docker-compose-lakebase
house=$PWD
built=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release

# For tests/bench_switch.sh, which finds neither cargo's folders nor ours in another home.
export LAKEBASE_GATEWAY_DIR=$scratch/gateway
logged gateway/image.sh --into "$LAKEBASE_GATEWAY_DIR"
set -a
eval "$(tests/images/build.sh)"
set +a

users=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins/docker-compose
export HOME=$scratch/home DOCKER_CONFIG=$scratch/docker LAKEBASE_EMBEDDED_HOME=$scratch/embedded PATH=$built:$PATH
mkdir -p "$HOME" "$DOCKER_CONFIG/cli-plugins" "$scratch/doors" "$scratch/shop"
trap 'cargo-lakebase embedded stop >/dev/null 2>&1 || true; rm -rf "$scratch"' EXIT
# A Compose that is installed for this user alone.
[[ ! -x $users ]] || ln -s "$(readlink -f "$users")" "$DOCKER_CONFIG/cli-plugins/docker-compose"
ln -s "$built/docker-compose" "$scratch/doors/docker-compose"
ln -s "$built/docker-compose-lakebase" "$DOCKER_CONFIG/cli-plugins/docker-lakebase"
git config --global user.name 'Ada Lovelace'
git config --global user.email ada@example.com
cd "$scratch/shop"
git init --quiet --initial-branch=main
cat >compose.yaml <<'YAML'
services:
  postgres:
    image: postgres:17
    profiles: [local]
  app:
    image: app
    environment:
      DATABASE_URL: postgresql://u:p@postgres/d
YAML

now() { printf '%s' "${EPOCHREALTIME/[.,]/}"; }
# The median of the numbers on standard input, microseconds in, milliseconds out.
median() { sort -n | awk '{ all[NR] = $1 } END { printf "%.1f", all[int((NR + 1) / 2)] / 1000 }'; }
doors() { docker-compose-lakebase doors "$1" "$scratch/doors"; }

# Times a command once into a file; what it prints is of no interest.
once() {
  local into=$1 start
  shift
  start=$(now)
  "$@" >/dev/null 2>&1
  echo $(($(now) - start)) >>"$into"
}

printf '\n%-44s %10s %10s %10s\n' 'milliseconds, median' straight ours added
row() { printf '%-44s %10s %10s %10s\n' "$1" "$2" "$3" "$(awk -v a="$2" -v b="$3" 'BEGIN { printf "%.1f", b - a }')"; }

for words in version ps; do
  rm -f "$scratch"/{straight,ours}
  for ((i = 0; i < rounds; i++)); do
    doors remove && once "$scratch/straight" docker compose $words
    doors add && once "$scratch/ours" docker compose $words
  done
  row "docker compose $words" "$(median <"$scratch/straight")" "$(median <"$scratch/ours")"
done

# The warm path: the branch exists. A program in the place of Compose notes when `up` reaches it, and is the real one
# for every other command.
cargo-lakebase embedded start --port 0 >/dev/null 2>&1
cargo-lakebase init --project-name shop --profile embedded 2>/dev/null
cargo-lakebase env >/dev/null 2>&1
doors remove
real=$(docker info --format '{{range .ClientInfo.Plugins}}{{if eq .Name "compose"}}{{.Path}}{{end}}{{end}}')
rm -f "$DOCKER_CONFIG/cli-plugins/docker-compose"
cat >"$DOCKER_CONFIG/cli-plugins/docker-compose" <<PROBE
#!/usr/bin/env bash
for word; do if [[ \$word == up ]]; then printf '%s' "\${EPOCHREALTIME/[.,]/}" >"$scratch/reached"; exit; fi; done
exec "$real" "\$@"
PROBE
chmod +x "$DOCKER_CONFIG/cli-plugins/docker-compose"
reach() {
  local into=$1 start
  shift
  start=$(now)
  "$@" >/dev/null 2>&1
  echo $(($(cat "$scratch/reached") - start)) >>"$into"
}
rm -f "$scratch"/{straight,ours,model}
for ((i = 0; i < rounds; i++)); do
  doors remove && reach "$scratch/straight" docker compose up -d
  once "$scratch/model" "$real" config --format json
  doors add && reach "$scratch/ours" docker compose lakebase up -d
done
row 'up, until Compose starts (warm branch)' "$(median <"$scratch/straight")" "$(median <"$scratch/ours")"
printf '%-44s %10s\n' "  of which Compose's own \`config\` takes" "$(median <"$scratch/model")"

rm "$DOCKER_CONFIG/cli-plugins/docker-compose"
[[ ! -x $users ]] || ln -s "$(readlink -f "$users")" "$DOCKER_CONFIG/cli-plugins/docker-compose"
"$house/tests/bench_switch.sh" "$scratch/switch"
cd "$scratch/shop"
python3 "$house/tests/bench_prepare.py" "$scratch/thirty"
python3 "$house/tests/bench_check.py"
