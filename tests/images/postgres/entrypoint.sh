#!/bin/bash
# Makes the cluster at the first start and runs PostgreSQL as `postgres`. Reads POSTGRES_USER, POSTGRES_PASSWORD,
# POSTGRES_DB (each also with _FILE), POSTGRES_INITDB_ARGS, PGDATA and /docker-entrypoint-initdb.d, as the official image does.
set -euo pipefail

from_file() {
  local file=${1}_FILE
  if [[ -n ${!file:-} ]]; then
    [[ -z ${!1:-} ]] || { echo "error: both $1 and $file are set" >&2; exit 1; }
    export "$1=$(<"${!file}")"
  fi
}

[[ ${1:-} != -* ]] || set -- postgres "$@"
[[ ${1:-} == postgres ]] || exec "$@"

if ((EUID == 0)); then
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 700 "$PGDATA"
  find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres:postgres {} +
  exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi

if [[ ! -s $PGDATA/PG_VERSION ]]; then
  for name in POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB; do from_file "$name"; done
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  [[ -n ${POSTGRES_PASSWORD:-} ]] || { echo "error: POSTGRES_PASSWORD is not set" >&2; exit 1; }
  # shellcheck disable=SC2086 # Several arguments in one variable, as in the official image.
  initdb --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
    --auth-local=trust --auth-host=scram-sha-256 ${POSTGRES_INITDB_ARGS:-}
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
  # On the Unix socket alone until it is complete, so that nobody finds it half made.
  pg_ctl -o "-c listen_addresses=''" -w start
  [[ $database == postgres ]] || createdb --username="$user" "$database"
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sql) psql -v ON_ERROR_STOP=1 --no-psqlrc --username="$user" --dbname="$database" -f "$file" ;;
      *.sh) bash "$file" ;;
    esac
  done
  pg_ctl -m fast -w stop
fi

unset POSTGRES_PASSWORD
exec "$@"
