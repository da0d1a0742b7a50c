#!/usr/bin/env bash
# Every call of the API with the official client, beside the table in tests/tests/conformance of what the service answers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

help() {
  cat <<'HELP'
Usage: tests/conformance.sh [--help] [--live] [--json] [--list] [ONLY]

  --live   a real workspace, which the environment or a profile names as for every Databricks client (DATABRICKS_HOST,
           DATABRICKS_CONFIG_PROFILE, …), in a project of its own with a random name, which is gone at the end; without
           it, the embedded Lakebase that runs
  --json   print everything for machines
  --list   print the cases, and make no call
  ONLY     only the cases whose name contains this

The last line is `conformance: N cases, M differ`; the exit code is 1 where one differs, 2 where there was no run.
HELP
}

live=''
for word in "$@"; do
  case $word in
    -h | --help) help && exit ;;
    --live | --list) live=1 ;;
    --json) ;;
    -*) help >&2 && exit 64 ;;
  esac
done

# shellcheck source=tests/machine.sh
source tests/machine.sh
machine_install python
# The environment that the tests use, made here where none of them ran yet: see python() in tests/src/tools.rs.
folder=$LAKEBASE_CACHE/official-client requirements=tests/tests/official_client/requirements.txt
mkdir -p "$LAKEBASE_CACHE"
(
  flock 9
  if ! cmp --silent "$requirements" "$folder.stamp" || [[ ! -d $folder ]]; then
    rm -rf "$folder" "$folder.stamp"
    python3 -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --requirement "$requirements"
    cp "$requirements" "$folder.stamp"
  fi
) 9>"$folder.lock"

if [[ -z $live ]]; then
  if has cargo-lakebase; then
    variables=$(cargo-lakebase embedded env)
  else
    variables=$(docker lakebase embedded env)
  fi
  eval "$variables"
fi
exec "$folder/bin/python" -B tests/tests/conformance/main.py "$@"
