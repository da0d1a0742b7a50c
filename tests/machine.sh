#!/usr/bin/env bash
# What a machine with Rust still lacks for the demo and the tests, from the system's own packages.
# Run it, or source it for its functions. Every step looks first and does nothing where nothing is missing.
set -euo pipefail

machine_help() {
  cat <<'HELP'
Usage: tests/machine.sh COMMAND [PART…]

  check [PART…]    say what is missing and how to get it; exit 1 if anything is
  install [PART…]  install what is missing (Debian and Ubuntu, as root or with sudo)
  start            start the Docker Engine, by hand where no init system does it
  stop             stop the Docker Engine that `start` started by hand
  mirror           print the Debian mirror that this system uses

Parts: docker engine compose postgres psql cc git (the default), pgbench libpq python node rails strace
chromium debootstrap pgbouncer.

LAKEBASE_CACHE   folder for logs and downloads (default: ~/.cache/lakebase)
LAKEBASE_LOG     file that long output goes to (default: machine.log in that folder)
LAKEBASE_JOIN_DOCKER  set: `start` may put this user into the group docker; it then returns 75
HELP
}

readonly COMPOSE_MIN=2.24
LAKEBASE_CACHE=${LAKEBASE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lakebase}
LAKEBASE_LOG=${LAKEBASE_LOG:-$LAKEBASE_CACHE/machine.log}
DOCKERD_LOG=$LAKEBASE_CACHE/dockerd.log
DOCKERD_OURS=$LAKEBASE_CACHE/dockerd.pid
case :$PATH: in *:/usr/sbin:*) ;; *) PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin ;; esac

# ---- Words and helpers ----------------------------------------------------------------------------------------------

if [[ -t 2 && -z ${NO_COLOR:-} ]]; then bold=$'\e[1m' red=$'\e[31m' plain=$'\e[0m'; else bold='' red='' plain=''; fi
step() { printf '%s==>%s %s\n' "$bold" "$plain" "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
warn() { printf '%swarning:%s %s\n' "$bold" "$plain" "$*" >&2; }
fail() { printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2; }
die() { fail "$@"; exit 1; }

# Runs a command with its output in the log; on failure shows the log's last lines and where the rest is.
logged() {
  mkdir -p "$(dirname "$LAKEBASE_LOG")"
  printf '\n$ %s\n' "$*" >>"$LAKEBASE_LOG"
  local start
  start=$(wc -c <"$LAKEBASE_LOG")
  "$@" >>"$LAKEBASE_LOG" 2>&1 && return
  local status=$?
  fail "\`$1${2:+ $2}\` failed (exit code $status); its last lines, and all of it in $LAKEBASE_LOG:"
  tail -c "+$((start + 1))" "$LAKEBASE_LOG" | tail -n 20 | sed 's/^/    /' >&2
  return "$status"
}

has() { command -v "$1" >/dev/null 2>&1; }

as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

# Waits until a command succeeds: until SECONDS COMMAND…
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

version_at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# shellcheck disable=SC1091 # The system's own file.
os_release() { (. /etc/os-release 2>/dev/null && printf '%s' "${!1:-}"); }

# ---- What is there --------------------------------------------------------------------------------------------------

has_docker() { has docker; }
engine_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
has_engine() { has dockerd || engine_answers; }
has_compose() {
  local version
  version=$(docker compose version --short 2>/dev/null) && version_at_least "${version#v}" "$COMPOSE_MIN"
}
has_postgres() {
  local folder
  has initdb && has pg_ctl && return
  for folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
    [[ -x $folder/initdb && -x $folder/pg_ctl ]] && return
  done
  return 1
}
has_psql() { has psql; }
has_pgbench() { has pgbench && pgbench --version >/dev/null 2>&1; }
has_libpq() { has pg_config && [[ -e $(pg_config --includedir)/libpq-fe.h ]]; }
has_cc() { has cc; }
has_git() { has git; }
has_python() { has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }
# 16 and later: what the pinned packages of tests/tests/drivers want.
has_node() { has npm && has node && version_at_least "$(node --version | tr -d v)" 16; }
has_rails() { has ruby && ruby -e 'require "rails"; require "active_record"; require "pg"' 2>/dev/null; }
# Elsewhere than on Linux the tests do without.
has_strace() { [[ $(uname -s) != Linux ]] || has strace; }
has_chromium() { has chromium-headless-shell || has chromium || has chromium-browser || has google-chrome; }
has_debootstrap() { has debootstrap; }
has_pgbouncer() { has pgbouncer; }

# Homebrew keeps the folder of these programs off PATH.
psql_of_homebrew() {
  local folder
  for folder in /opt/homebrew/opt/{postgresql@*,libpq}/bin /usr/local/opt/{postgresql@*,libpq}/bin; do
    if [[ -x $folder/psql ]]; then printf '%s\n' "$folder" && return; fi
  done
  return 1
}

# The name of a part, and how to get it by hand.
advice() {
  local folder
  case $1 in
    docker) echo "the Docker CLI: Debian 13 and later: apt install docker-cli; Debian 12, Ubuntu: apt install docker.io; macOS: Docker Desktop" ;;
    engine) echo "the Docker Engine: Debian, Ubuntu: apt install docker.io; Fedora: dnf install moby-engine; macOS: Docker Desktop" ;;
    compose) echo "Docker Compose $COMPOSE_MIN or later: Debian 13 and later: apt install docker-compose; Ubuntu: apt install docker-compose-v2; Fedora: dnf install docker-compose; macOS: Docker Desktop" ;;
    postgres) echo "PostgreSQL's server programs: Debian, Ubuntu: apt install postgresql; Fedora: dnf install postgresql-server; macOS: brew install postgresql@17" ;;
    psql)
      if folder=$(psql_of_homebrew); then
        echo "psql on PATH: export PATH=\"$folder:\$PATH\""
      else
        echo "psql: Debian, Ubuntu: apt install postgresql-client; Fedora: dnf install postgresql; macOS: brew install libpq, and its bin folder on PATH"
      fi
      ;;
    pgbench) echo "pgbench on PATH: Debian, Ubuntu: apt install postgresql; Fedora: dnf install postgresql-contrib; macOS: brew install postgresql@17, and its bin folder on PATH" ;;
    libpq) echo "libpq with its headers, and pg_config on PATH: Debian, Ubuntu: apt install libpq-dev; Fedora: dnf install libpq-devel; macOS: brew install libpq, and its bin folder on PATH" ;;
    cc) echo "a C compiler: Debian, Ubuntu: apt install gcc libc6-dev; Fedora: dnf install gcc; macOS: xcode-select --install" ;;
    git) echo "git: Debian, Ubuntu: apt install git; Fedora: dnf install git; macOS: xcode-select --install" ;;
    python) echo "Python 3 with venv: Debian, Ubuntu: apt install python3-venv; Fedora: dnf install python3; macOS: brew install python" ;;
    node) echo "Node.js 16 or later with npm: Debian, Ubuntu: apt install nodejs npm; Fedora: dnf install nodejs-npm; macOS: brew install node" ;;
    rails) echo "Ruby with Rails' active_record, railties and pg: Debian, Ubuntu: apt install ruby-railties ruby-activerecord ruby-pg; elsewhere: gem install railties activerecord pg" ;;
    strace) echo "strace: Debian, Ubuntu: apt install strace; Fedora: dnf install strace" ;;
    chromium) echo "Chromium: Debian: apt install chromium-headless-shell, or chromium; Fedora: dnf install chromium; macOS, Ubuntu: Google Chrome as google-chrome on PATH" ;;
    debootstrap) echo "debootstrap: Debian: apt install debootstrap" ;;
    pgbouncer) echo "PgBouncer: Debian, Ubuntu: apt install pgbouncer; Fedora: dnf install pgbouncer; macOS: brew install pgbouncer" ;;
    *) die "no part is called \`$1\`; see tests/machine.sh --help" ;;
  esac
}

# Prints the parts of the list that are missing, one a line.
missing_parts() {
  local part
  (($# > 0)) || set -- docker engine compose postgres psql cc git
  for part in "$@"; do
    advice "$part" >/dev/null
    "has_$part" || printf '%s\n' "$part"
  done
}

machine_check() {
  local part missing
  missing=$(missing_parts "$@") || return
  for part in $missing; do printf 'missing: %s\n' "$(advice "$part")"; done
  [[ -z $missing ]]
}

# ---- Installing -----------------------------------------------------------------------------------------------------

# Can this script install packages here? Says why not, on standard error.
can_install() {
  has apt-get || { fail "this system has no apt-get: only Debian and Ubuntu packages can be installed for you"; return 1; }
  ((EUID == 0)) || has sudo || { fail "installing packages needs root, and there is no sudo"; return 1; }
}

apt_install() {
  logged as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q install -y --no-install-recommends "$@"
}

# The version of a package that apt would install, without its epoch; nothing where apt has none.
apt_candidate() { apt-cache policy "$1" 2>/dev/null | sed -nE 's/^  Candidate: ([0-9]+:)?([0-9].*)/\2/p'; }

# The mirror that this Debian takes its own release's `main` from, as apt itself reads its sources, in whatever format.
debian_mirror() {
  [[ $(os_release ID) == debian ]] || { fail "a Debian mirror can be derived on Debian only"; return 1; }
  local release mirror list
  release=$(os_release VERSION_CODENAME)
  mirror=$(apt-get update --print-uris -o Dir::State::Lists=/nonexistent 2>/dev/null |
    sed -nE "s#^'(.*)/dists/(${release:-stable}|stable|oldstable|testing|unstable|sid)/main/binary-[^/]*/Packages.*#\1#p" | head -n 1)
  case $mirror in
    mirror+file:*)
      list=${mirror#mirror+file:}
      mirror=$(sed -nE 's#^(https?://[^[:space:]]+).*#\1#p' "/$list" | head -n 1)
      ;;
  esac
  [[ $mirror =~ ^(https?|file):/ ]] || { fail "apt's sources name no mirror of Debian's \`main\` that can be used (found: \`${mirror:-none}\`)"; return 1; }
  printf '%s\n' "${mirror%/}"
}

debian_keyring() {
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ -e $keyring ]] || keyring=/usr/share/keyrings/debian-archive-keyring.pgp
  [[ ! -e $keyring ]] || printf '%s\n' "$keyring"
}

# Downloads one package of another Debian suite into a folder, with apt lists of our own, so that the system's apt never
# hears of that suite: apt_download_from SUITE PACKAGE FOLDER
apt_download_from() {
  local suite=$1 package=$2 folder=$3 mirror keyring
  mirror=$(debian_mirror) || return
  keyring=$(debian_keyring)
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
  printf 'deb %s%s %s main\n' "${keyring:+[signed-by=$keyring] }" "$mirror" "$suite" >"$folder/sources.list"
  local options=(
    -q
    -o "Dir::Etc::SourceList=$folder/sources.list" -o Dir::Etc::SourceParts=-
    -o Dir::Etc::Preferences=- -o Dir::Etc::PreferencesParts=-
    -o "Dir::State::Lists=$folder/lists" -o "Dir::Cache=$folder/cache"
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
    -o APT::Sandbox::User= -o Debug::NoLocking=true
    -o APT::Update::Post-Invoke= -o APT::Update::Post-Invoke-Success=
  )
  apt-get "${options[@]}" update && (cd "$folder" && apt-get "${options[@]}" download "$package")
}

# Debian 12 has no Compose 2: the plugin of a later suite needs nothing but libc, so it is unpacked beside, not installed.
compose_from_later_suite() {
  local suite folder plugin target
  target=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins
  ((EUID != 0)) || target=/usr/local/lib/docker/cli-plugins
  for suite in forky trixie; do
    folder=$LAKEBASE_CACHE/compose-$suite
    rm -rf "$folder"
    mkdir -p "$folder"
    apt_download_from "$suite" docker-compose "$folder" >>"$LAKEBASE_LOG" 2>&1 || continue
    dpkg-deb -x "$folder"/docker-compose_*.deb "$folder/root" || continue
    plugin=$(find "$folder/root" -type f -name docker-compose -path '*/cli-plugins/*' | head -n 1)
    if [[ -n $plugin ]] && "$plugin" docker-cli-plugin-metadata >/dev/null 2>>"$LAKEBASE_LOG"; then
      mkdir -p "$target"
      install -m 755 "$plugin" "$target/.docker-compose.new" && mv -f "$target/.docker-compose.new" "$target/docker-compose"
      if has_compose; then
        rm -rf "$LAKEBASE_CACHE"/compose-*
        note "Compose $(docker compose version --short) is in $target"
        return
      fi
    fi
  done
  fail "no Debian suite that this mirror offers has a Compose that runs here; what was tried is in $LAKEBASE_LOG"
  return 1
}

install_compose() {
  local package version
  has_docker || install_docker || return
  for package in docker-compose-v2 docker-compose docker-compose-plugin; do
    version=$(apt_candidate "$package")
    if [[ -n $version ]] && version_at_least "$version" "$COMPOSE_MIN"; then
      apt_install "$package" && has_compose && return
    fi
  done
  compose_from_later_suite
}

install_engine() { apt_install docker.io iptables ca-certificates && { has_docker || install_docker; }; }
install_docker() {
  if [[ -n $(apt_candidate docker-cli) ]]; then apt_install docker-cli; else apt_install docker.io; fi
}

# The package would make a cluster and start it on port 5432: told not to while it is installed, and never again after.
install_postgres() (
  conf=/etc/postgresql-common/createcluster.conf
  apt_install postgresql-common || exit
  as_root cp -p "$conf" "$conf.lakebase-saved"
  trap 'as_root mv -f "$conf.lakebase-saved" "$conf"' EXIT
  as_root sh -c "echo 'create_main_cluster = false' >>'$conf'"
  apt_install postgresql
)

# The package would start its service: forbidden while it is installed, and not wanted at the next boot either.
install_pgbouncer() (
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap 'as_root rm -f "$policy"' EXIT
    as_root sh -c "printf '#!/bin/sh\nexit 101\n' >'$policy' && chmod 755 '$policy'"
  fi
  apt_install pgbouncer && logged as_root update-rc.d pgbouncer disable
)

install_psql() { apt_install postgresql-client; }
install_pgbench() { install_postgres; }
install_libpq() { apt_install libpq-dev; }
install_cc() { apt_install gcc libc6-dev; }
install_git() { apt_install git; }
install_python() { apt_install python3 python3-venv; }
install_node() { apt_install nodejs npm; }
install_rails() { apt_install ruby-railties ruby-activerecord ruby-pg; }
install_strace() { apt_install strace; }
# The browser without a window is half as large. Ubuntu's package of the name is a snap, which sees no file of ours.
install_chromium() {
  if [[ -n $(apt_candidate chromium-headless-shell) ]]; then apt_install chromium-headless-shell; else apt_install chromium; fi
}
install_debootstrap() { apt_install debootstrap; }

machine_install() {
  local part missing
  missing=$(missing_parts "$@") || return
  [[ -n $missing ]] || return 0
  can_install || { machine_check "$@" >&2; return 1; }
  logged as_root apt-get -q update || return
  for part in $missing; do
    "has_$part" && continue # An earlier part may have brought it.
    step "Installing $(advice "$part" | sed 's/:.*//')"
    "install_$part" || return
    "has_$part" || { fail "$part is installed but is not found: $(advice "$part")"; return 1; }
  done
}

# shellcheck source-path=SCRIPTDIR source=engine.sh
source "$(dirname "${BASH_SOURCE[0]}")/engine.sh"

machine_main() {
  local command=${1:-}
  (($# == 0)) || shift
  case $command in
    check | install) "machine_$command" "$@" ;;
    start | stop) "machine_$command" ;;
    mirror) debian_mirror ;;
    -h | --help) machine_help ;;
    *)
      machine_help >&2
      return 64
      ;;
  esac
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then machine_main "$@"; fi
