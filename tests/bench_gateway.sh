#!/usr/bin/env bash
# The gateway beside nothing and beside PgBouncer, in one run on one throw-away PostgreSQL; nothing here is asserted. All
# three are run in turns, so that they feel the same machine, and the medians are printed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

help() {
  cat <<'HELP'
Usage: tests/bench_gateway.sh [--help]

LAKEBASE_BENCH_ROUNDS   rounds of every row (default: 5)
LAKEBASE_BENCH_SECONDS  seconds of one run (default: 2)
LAKEBASE_BENCH_LEGS     the client's way to gateway and PgBouncer, a table each: `require` for TLS, `disable` for plain TCP
                        (default: both)
LAKEBASE_BENCH_IDLE     idle sessions whose memory is measured (default: 1000)
LAKEBASE_BENCH_GATEWAY  another gateway than the one of these sources
HELP
}

case ${1:-} in
  '') ;;
  -h | --help) help && exit ;;
  *) help >&2 && exit 64 ;;
esac

# shellcheck source=tests/machine.sh
source tests/machine.sh
[[ -r /proc/self/smaps_rollup ]] || die "this bench reads Linux's /proc"
machine_install postgres psql pgbouncer
# The programs themselves: Debian's names on PATH are slow scripts that look for clusters first.
bin=$(find /usr/lib/postgresql/*/bin /usr/pgsql-*/bin -maxdepth 0 2>/dev/null | sort -V | tail -n 1 || true)
bin=${bin:-$(dirname "$(command -v initdb)")}
psql=$bin/psql pgbench=$bin/pgbench
[[ -x $psql ]] || psql=$(command -v psql)
[[ -x $pgbench ]] || pgbench=$(command -v pgbench) || die "pgbench is missing: Fedora: dnf install postgresql-contrib"
has openssl || die "openssl is missing: apt install openssl"

rounds=${LAKEBASE_BENCH_ROUNDS:-5} seconds=${LAKEBASE_BENCH_SECONDS:-2} idle=${LAKEBASE_BENCH_IDLE:-1000}
read -ra legs <<<"${LAKEBASE_BENCH_LEGS:-require disable}"
readonly TARGETS=(direct gateway pgbouncer) SCALE=20
gateway=${LAKEBASE_BENCH_GATEWAY:-}
if [[ -z $gateway ]]; then
  step "Building"
  folder=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/gateway
  logged gateway/image.sh --into "$folder"
  gateway=$folder/lakebase-gateway
fi
gateway=$(readlink -f "$gateway")
ulimit -n "$(ulimit -Hn)"

# ---- The three ways to one PostgreSQL -------------------------------------------------------------------------------

scratch=$(mktemp -d)
chmod 755 "$scratch" # PostgreSQL runs as a user of its own.
cd "$scratch"
owner=$(id -un) as_owner=()
if ((EUID == 0)); then
  owner=postgres
  as_owner=(setpriv --reuid=postgres --regid=postgres --init-groups)
fi
started=()
cleanup() {
  local pid
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  "${as_owner[@]}" "$bin/pg_ctl" stop -D "$scratch/data" -m immediate -s 2>/dev/null || true
  cd /
  rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# A port that nobody listens on.
free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)); do
    (: 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { printf '%s' "$port" && return; }
  done
}

# Gives a file to PostgreSQL's user alone: what stands on standard input.
own() { install -m 600 -o "$owner" /dev/stdin "$1"; }

# Passwords that nobody has to know: the branch's for its one login, and the local one.
token=$(openssl rand -hex 16) PGPASSWORD=$(openssl rand -hex 16)
export PGPASSWORD
export PGCONNECT_TIMEOUT=30
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -keyout key.pem -out certificate.pem \
  -config /dev/stdin 2>/dev/null <<'CONF'
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = localhost
[extensions]
subjectAltName = IP:127.0.0.1
basicConstraints = critical, CA:FALSE
CONF

step "Starting PostgreSQL, the gateway and PgBouncer"
install -d -m 700 -o "$owner" data
"${as_owner[@]}" "$bin/initdb" -D "$scratch/data" -U boss -A trust --no-sync >/dev/null
own data/server.crt <certificate.pem
own data/server.key <key.pem
server_port=$(free_port)
own data/pg_hba.conf <<<$'local all all trust\nhostssl all all all password'
own data/postgresql.auto.conf <<CONF
port = $server_port
listen_addresses = '127.0.0.1'
unix_socket_directories = '$scratch/data'
ssl = on
# Beside the idle ones: 80 clients at a time, and as many sessions that PgBouncer keeps.
max_connections = $((idle + 300))
shared_buffers = 512MB
max_wal_size = 8GB
checkpoint_timeout = 1h
autovacuum = off
CONF
"${as_owner[@]}" "$bin/pg_ctl" start -D "$scratch/data" -l "$scratch/data/log" -s -w
boss() { "$psql" -X -q -A -t -v ON_ERROR_STOP=1 -d "host=$scratch/data port=$server_port user=boss dbname=${2:-bench}" -c "$1"; }
# Its verifier is a cheap one: the row of connections would else show PostgreSQL's thousands of hashes and little more.
boss "SET password_encryption = md5; CREATE ROLE branch LOGIN PASSWORD '$token'" postgres 2>/dev/null
boss "CREATE DATABASE bench OWNER branch" postgres
# As the role itself, so that the tables are its own.
PGPASSWORD=$token "$pgbench" -i -q -s "$SCALE" "host=127.0.0.1 port=$server_port user=branch dbname=bench" >/dev/null 2>&1

mkfifo feed
env POSTGRES_USER=branch POSTGRES_PASSWORD="$PGPASSWORD" POSTGRES_DB=bench PGPORT=0 LAKEBASE_UPSTREAM="127.0.0.1:$server_port" \
  LAKEBASE_USER=branch LAKEBASE_DATABASE=bench LAKEBASE_CA="$(<certificate.pem)" LAKEBASE_CONTROL="$scratch/control" \
  "$gateway" serve 2>gateway.log &
gateway_pid=$! started+=($!)
until_true 20 grep -q 'listening on port' gateway.log || die "the gateway did not start: $(<gateway.log)"
gateway_port=$(sed -n 's/.*listening on port \([0-9]*\).*/\1/p' gateway.log)
# shellcheck disable=SC2094 # The one is a word of the program, the other a pipe.
LAKEBASE_CONTROL=$scratch/control "$gateway" feed <feed >/dev/null &
started+=($!)
exec {feed}>feed
printf '{"token":"%s","expires":"%s"}\n' "$token" "$(date -u -d '+1 day' +%FT%TZ)" >&"$feed"
until_true 20 env LAKEBASE_CONTROL="$scratch/control" "$gateway" healthy || die "the gateway got no token: $(<gateway.log)"

install -d -m 700 -o "$owner" pooler
own pooler/key.pem <key.pem
own pooler/certificate.pem <certificate.pem
own pooler/users <<<"\"branch\" \"$PGPASSWORD\""
pooler_port=$(free_port)
own pooler/pgbouncer.ini <<CONF
[databases]
bench = host=127.0.0.1 port=$server_port dbname=bench user=branch password=$token
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $pooler_port
unix_socket_dir =
pool_mode = session
max_client_conn = $((idle + 100))
default_pool_size = $((idle + 100))
auth_type = scram-sha-256
auth_file = $scratch/pooler/users
client_tls_sslmode = allow
client_tls_key_file = $scratch/pooler/key.pem
client_tls_cert_file = $scratch/pooler/certificate.pem
server_tls_sslmode = verify-full
server_tls_ca_file = $scratch/pooler/certificate.pem
ignore_startup_parameters = extra_float_digits
query_wait_timeout = 0
log_connections = 0
log_disconnections = 0
CONF
"${as_owner[@]}" pgbouncer -q "$scratch/pooler/pgbouncer.ini" 2>pooler.log &
pooler_pid=$! started+=($!)

declare -A port=([direct]=$server_port [gateway]=$gateway_port [pgbouncer]=$pooler_port)
# Where pgbench finds one of the three. Nobody gets into the real Lakebase without TLS.
address() {
  local ssl=$2
  [[ $1 != direct ]] || ssl=require
  printf 'host=127.0.0.1 port=%s user=branch dbname=bench sslmode=%s' "${port[$1]}" "$ssl"
}
# Runs a command with the password of one of the three.
as_client() {
  local password=$PGPASSWORD target=$1
  shift
  [[ $target != direct ]] || password=$token
  PGPASSWORD=$password "$@"
}
ask() { as_client "$1" "$psql" -X -q -A -t -v ON_ERROR_STOP=1 -d "$(address "$1" "$2")" -c "$3" -c "${4:-}"; }
until_true 20 ask pgbouncer disable 'SELECT 1' || die "PgBouncer did not start: $(<pooler.log)"

# ---- Rows -----------------------------------------------------------------------------------------------------------

median() { sort -g | awk '{ all[NR] = $1 } END { if (NR) print all[int((NR + 1) / 2)] }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.0f %%", 100 * a / b }'; }
# One value of every round, of a target: kept in a file.
note_down() { printf '%s\n' "$2" >>"$scratch/values.$1"; }
result() { median <"$scratch/values.$1"; }

# Prints transactions a second: bench TARGET LEG CLIENTS ARGUMENTS…
bench() {
  local target=$1 leg=$2 clients=$3 threads
  # What connecting takes counts for pgbench's clock, though not for what it prints.
  local time=$((seconds + clients / 40))
  threads=$((clients < $(nproc) ? clients : $(nproc)))
  shift 3
  as_client "$target" "$pgbench" -n -c "$clients" -j "$threads" -T "$time" "$@" "$(address "$target" "$leg")" 2>pgbench.log |
    sed -nE 's/^tps = ([0-9.]+) .*/\1/p' | grep . || die "pgbench failed: $(tail -n 3 pgbench.log)"
}

# The median and the 99th percentile of pgbench's log, in microseconds: the third field of a line.
percentiles() { cat transactions.* | cut -d ' ' -f 3 | sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)], all[int(NR * 0.99)] }'; }

throughput_row() {
  local name=$1 leg=$2 clients=$3 round target
  shift 3
  rm -f values.*
  for ((round = 0; round < rounds; round++)); do
    for target in "${TARGETS[@]}"; do note_down "$target" "$(bench "$target" "$leg" "$clients" "$@")"; done
  done
  printf '%-34s %9.0f %9.0f %9.0f %11s %11s\n' "$name" "$(result direct)" "$(result gateway)" "$(result pgbouncer)" \
    "$(ratio "$(result gateway)" "$(result direct)")" "$(ratio "$(result gateway)" "$(result pgbouncer)")"
}

latency_rows() {
  local leg=$1 round target half tail direct=() added
  rm -f values.*
  for ((round = 0; round < rounds; round++)); do
    for target in "${TARGETS[@]}"; do
      rm -f transactions.*
      bench "$target" "$leg" 1 -S -l --log-prefix="$scratch/transactions" >/dev/null
      read -r half tail < <(percentiles)
      [[ $target != direct ]] || direct=("$half" "$tail")
      note_down "$target.median" "$half"
      note_down "$target.99th" "$tail"
      note_down "$target.median.added" $((half - direct[0]))
      note_down "$target.99th.added" $((tail - direct[1]))
    done
  done
  printf '\n%-34s %9s %9s %9s %11s %11s\n' 'microseconds, select-only, 1 client' direct gateway pgbouncer 'gw added' 'pgb added'
  for added in median 99th; do
    printf '%-34s %9.0f %9.0f %9.0f %11.0f %11.0f\n' "  $added" "$(result "direct.$added")" "$(result "gateway.$added")" \
      "$(result "pgbouncer.$added")" "$(result "gateway.$added.added")" "$(result "pgbouncer.$added.added")"
  done
}

# What is really encrypted, and how: as the client and as the server saw it.
encryption() {
  local target client server
  for target in "${TARGETS[@]}"; do
    client=$(ask "$target" "$1" '\conninfo' | sed -nE 's/.*protocol: ([^,]*), cipher: ([^,]*),.*/\1 \2/p; s/^ *SSL (Protocol|Cipher)\|(.*)/\2/p' | paste -sd ' ')
    server=$(ask "$target" "$1" "SELECT version || ' ' || cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    case $target in
      direct) note "direct: $server" ;;
      *) note "$target: client's leg ${client:-in the clear}, server's leg $server" ;;
    esac
  done 2>&1
}

# Kilobytes of a process's own memory.
# shellcheck disable=SC2016 # awk's own.
memory() { as_root awk '/^Pss:/ { print $2 }' "/proc/$1/smaps_rollup"; }
sessions() { boss "SELECT count(*) FROM pg_stat_activity WHERE usename = 'branch' AND state = 'idle' AND query = 'SELECT 1;'"; }
all_idle() { [[ $(sessions) == "$idle" ]]; }
none_left() { [[ $(sessions) == 0 ]]; }

memory_row() {
  local target=$1 leg=$2 pid=$3 before after client
  before=$(memory "$pid")
  "$pgbench" -n -c "$idle" -T 3600 -f idle.sql "$(address "$target" "$leg")" >/dev/null 2>pgbench.log &
  client=$! started+=($!)
  until_true 300 all_idle || die "not all of $idle sessions opened: $(tail -n 3 pgbench.log)"
  after=$(memory "$pid")
  kill "$client"
  wait "$client" 2>/dev/null || true
  awk -v name="  $target" -v a="$before" -v b="$after" -v n="$idle" \
    'BEGIN { printf "%-34s %9.1f %9.1f %9.1f\n", name, a / 1024, b / 1024, (b - a) / n }'
  # PgBouncer would keep its own.
  boss "SET client_min_messages = error; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'branch'" >/dev/null
  until_true 60 none_left || die "sessions that nobody uses stay open"
}

# Not an hour: pgbench counts in microseconds, and its longest sleep is 2^31 of them.
printf 'SELECT 1;\n\\sleep 2000 s\n' >idle.sql
for leg in "${legs[@]}"; do
  printf '\n'
  if [[ $leg == disable ]]; then echo "The client's leg in the clear (direct: as the branch wants it)"; else echo "TLS on every leg"; fi
  encryption "$leg"
  printf '\n%-34s %9s %9s %9s %11s %11s\n' "a second, median of $rounds rounds" direct gateway pgbouncer gw/direct gw/pgbouncer
  for clients in 1 16 80; do throughput_row "  select-only, clients: $clients" "$leg" "$clients" -S; done
  for clients in 1 16 80; do throughput_row "  TPC-B, clients: $clients" "$leg" "$clients"; done
  throughput_row '  connections, 8 at a time' "$leg" 8 -S -C
  latency_rows "$leg"
  # Either keeps what it once needed, so a second time would show nothing.
  [[ $leg == "${legs[0]}" ]] || continue
  printf '\n%-34s %9s %9s %9s\n' "MB; $idle idle sessions" without with 'kB each'
  memory_row gateway "$leg" "$gateway_pid"
  memory_row pgbouncer "$leg" "$pooler_pid"
done
