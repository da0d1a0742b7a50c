#!/usr/bin/env bash
# How long `up` takes after `git switch`, beyond what it takes when nothing changed and the application's own restart:
# the price of a gateway that changes sides. Nothing is asserted. A part of tests/bench.sh, which sets up the home that
# it runs in, the images, and an embedded Lakebase; its argument is a folder to make.
set -euo pipefail
# shellcheck source=tests/machine.sh
source "$(dirname "${BASH_SOURCE[0]}")/machine.sh"
: "${1:?run tests/bench.sh}" "${LAKEBASE_GATEWAY_DIR:?}" "${TODO_PYTHON_IMAGE:?}"

rounds=${LAKEBASE_BENCH_SWITCHES:-7}
export COMPOSE_PROJECT_NAME=lakebase-bench-switch
mkdir -p "$1"
cd "$1"
git init --quiet --initial-branch=main
git commit --quiet --allow-empty --message start
# The application ends at once when it is told to, and is ready as soon as it runs.
cat >compose.yaml <<YAML
services:
  postgres:
    image: postgres:17
    environment: {POSTGRES_PASSWORD: local}
    ports: ["127.0.0.1::5432"]
  app:
    image: $TODO_PYTHON_IMAGE
    entrypoint: [sleep, infinity]
    init: true
    depends_on: {postgres: {condition: service_healthy}}
    environment: {DATABASE_URL: "postgresql://postgres:local@postgres/postgres"}
YAML
tidy() {
  docker compose down >/dev/null 2>&1 || true
  docker-compose-lakebase agent --stop >/dev/null 2>&1 || true
}
trap tidy EXIT

now() { printf '%s' "${EPOCHREALTIME/[.,]/}"; }
median() { sort -n | awk '{ all[NR] = $1 } END { printf "%.0f", all[int((NR + 1) / 2)] / 1000 }'; }
once() {
  local into=$1 start
  shift
  start=$(now)
  "$@" >/dev/null 2>&1 || { fail "\`$*\` failed"; "$@"; }
  echo $(($(now) - start)) >>"times.$into"
}
up() { docker compose lakebase up -d --wait; }
database() { PGPASSWORD=local psql -XAtqc 'SELECT name FROM mark' -U postgres -h 127.0.0.1 -p "$(docker compose port postgres 5432 | sed 's/.*://')"; }

cargo-lakebase init --project-name switch --profile embedded >/dev/null 2>&1
for branch in main other; do
  git switch --quiet "$branch" 2>/dev/null || git switch --quiet --create "$branch"
  cargo-lakebase psql -- -qc "CREATE TABLE mark AS SELECT '$branch'::text AS name" >/dev/null 2>&1
done
logged up
for ((i = 0; i < rounds; i++)); do
  once same up
  once restart docker compose restart app
  if ((i % 2)); then branch=other; else branch=main; fi
  git switch --quiet "$branch"
  once switch up
  [[ $(database) == "$branch" ]] || die "after the switch to \`$branch\`, \`$(database)\` answers"
done
for what in same restart switch; do
  printf -v "$what" '%s' "$(median <"times.$what")"
done
# shellcheck disable=SC2154 # Set by name, above.
printf '\n'
printf '%-64s %6s ms\n' \
  'up when nothing changed' "$same" \
  "the application's own restart (docker compose restart)" "$restart" \
  'up after git switch, both branches there' "$switch" \
  'the switch beyond these two (goal: 1000)' "$((switch - same - restart))"
