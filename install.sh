#!/usr/bin/env bash
# Builds and installs `docker compose lakebase` and `cargo lakebase` for this user; with --demo, shows them on examples/todo.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/machine.sh
source "$here/tests/machine.sh"

help() {
  cat <<'HELP'
Usage: ./install.sh [--demo [--yes]] | --uninstall [--purge] | --help

Builds the programs and installs them for this user; needs Rust and a C compiler, no root, and can be run again.

  --demo       everything for a first look: Docker, Compose and PostgreSQL if they are missing, the embedded Lakebase with
               a production of 120,000 tasks, and examples/todo on a branch of it
  --yes        ask nothing: install what is missing from the system's packages (Debian and Ubuntu, as root or with sudo)
  --uninstall  remove what was installed, and the demo's containers; packages of the system stay
  --purge      with --uninstall: the embedded Lakebase's data too

CARGO_INSTALL_ROOT, DOCKER_CONFIG, XDG_DATA_HOME  where things go, instead of ~/.cargo, ~/.docker, ~/.local/share
LAKEBASE_CACHE                            folder for logs and downloads, instead of ~/.cache/lakebase
HELP
}

bin=${CARGO_INSTALL_ROOT:-${CARGO_HOME:-$HOME/.cargo}}/bin
docker_config=${DOCKER_CONFIG:-$HOME/.docker}
data=${XDG_DATA_HOME:-$HOME/.local/share}/lakebase
# What was installed, a line each: kind, path, detail; tabs between. Written before the thing itself.
manifest=$data/installed
todo=$here/examples/todo
readonly MARK='# Written by install.sh --demo for this machine; delete this line to keep your own changes.'
LAKEBASE_LOG=$LAKEBASE_CACHE/install.log
path_before=$PATH
yes=

# ---- What is ours ---------------------------------------------------------------------------------------------------

record() { printf '%s\t%s\t%s\n' "$@" >>"$manifest"; }
recorded() { [[ -e $manifest ]] && grep -qxF -- "$(printf '%s\t%s\t%s' "$@")" "$manifest"; }

hash_of() { if has sha256sum; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1; }

# Is what stands at this path what we put there?
is_ours() {
  if [[ -L $1 ]]; then recorded link "$1" "$(readlink "$1")"; else [[ -f $1 ]] && recorded file "$1" "$(hash_of "$1")"; fi
}

refuse_foreign() {
  [[ ! -e $1 && ! -L $1 ]] || is_ours "$1" || die "$1 is there and was not installed from here; it stays as it is. Remove it first, or choose another place (see --help)"
}

make_folder() {
  local missing=$1 folders=()
  while [[ ! -d $missing ]]; do
    folders+=("$missing")
    missing=$(dirname "$missing")
  done
  mkdir -p "$1"
  for missing in ${folders[@]+"${folders[@]}"}; do record folder "$missing" -; done
}

# Both replace what is there in one step, so that a running program is never half written.
put_file() {
  local from=$1 to=$2 hash
  hash=$(hash_of "$from")
  [[ ! -L $to && -e $to && $(hash_of "$to") == "$hash" ]] && recorded file "$to" "$hash" && return
  make_folder "$(dirname "$to")"
  record file "$to" "$hash"
  cp "$from" "$to.lakebase-new" && chmod 755 "$to.lakebase-new" && mv -f "$to.lakebase-new" "$to"
}
put_link() {
  local target=$1 to=$2
  [[ $(readlink "$to" 2>/dev/null) == "$target" ]] && recorded link "$to" "$target" && return
  make_folder "$(dirname "$to")"
  record link "$to" "$target"
  ln -sf "$target" "$to.lakebase-new" && mv -f "$to.lakebase-new" "$to"
}

# ---- Install --------------------------------------------------------------------------------------------------------

build() {
  local path
  for path in "$bin"/{cargo-lakebase,docker-compose-lakebase} "$docker_config/cli-plugins/docker-lakebase" "$data/cli-plugins/docker-compose"; do
    refuse_foreign "$path"
  done
  has cargo || die "cargo is missing: install Rust with rustup (rustup.rs)"
  machine_check cc >&2 || exit 1
  step "Building (some minutes the first time; what cargo says is in $LAKEBASE_LOG)"
  (cd "$here" && logged cargo build --release --locked -p cargo-lakebase -p docker-compose-lakebase)
}

install_programs() {
  local target shim=$data/cli-plugins
  target=$(cd "$here" && cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release
  step "Installing into $bin"
  make_folder "$data"
  put_file "$target/cargo-lakebase" "$bin/cargo-lakebase"
  put_file "$target/docker-compose-lakebase" "$bin/docker-compose-lakebase"
  put_link "$bin/docker-compose-lakebase" "$docker_config/cli-plugins/docker-lakebase"
  put_file "$target/docker-compose" "$shim/docker-compose"
  recorded door "$shim" "$docker_config" || record door "$shim" "$docker_config"
  DOCKER_CONFIG=$docker_config "$bin/docker-compose-lakebase" doors add "$shim" ||
    die "Docker's config.json could not be changed, so \`docker compose lakebase\` is not there; \`docker lakebase\` is"
  for name in cargo-lakebase docker-compose-lakebase; do
    case $(command -v "$name" || true) in
      "$bin/$name") ;;
      '') warn "$bin is not on PATH; add it, for example: echo 'export PATH=\"$bin:\$PATH\"' >>~/.profile" && break ;;
      *) warn "\`$name\` on PATH is another one: $(command -v "$name")" ;;
    esac
  done
  if ! has docker; then
    warn "there is no \`docker\` here yet; missing: $(advice docker)"
  elif ! has_compose; then
    warn "missing: $(advice compose)"
  fi
}

# ---- Demo -----------------------------------------------------------------------------------------------------------

confirm() {
  [[ -z $yes ]] || return 0
  [[ -t 0 && -t 2 ]] || return 1
  local answer
  read -r -p "$1 [y/N] " answer
  [[ $answer == [yY]* ]]
}

prepare_machine() {
  local missing
  missing=$(machine_check || true)
  if [[ -n $missing ]]; then
    printf '%s\n' "$missing" >&2
    can_install || exit 1
    confirm "Install that from the system's packages?" || die "install what is missing, or run ./install.sh --demo --yes"
    # shellcheck disable=SC2119 # All parts.
    machine_install || exit 1
  fi
  if ! engine_answers; then
    confirm "Start the Docker Engine?" || die "the Docker Engine does not run: tests/machine.sh start"
    LAKEBASE_JOIN_DOCKER=$yes machine_start || {
      # 75: this user has just been put into Docker's group, which takes a new session to count.
      (($? == 75)) || exit 1
      exec sg docker -c "$(printf '%q ' "$here/install.sh" --demo --yes)"
    }
  fi
}

is_marked() { [[ -e $1 ]] && head -n 1 "$1" | grep -qxF -- "$MARK"; }

# Files of the demo in examples/todo: git-ignored, and written only where they are absent or ours.
write_ours() {
  local file=$1
  if [[ -e $file ]] && ! is_marked "$file"; then
    warn "$file is your own and stays as it is; it may need these lines:"
    sed 's/^/    /' >&2
    return
  fi
  { printf '%s\n' "$MARK" && cat; } >"$file.new"
  if cmp -s "$file.new" "$file"; then rm "$file.new"; else mv -f "$file.new" "$file"; fi
}

# Prints the body of a page of this machine; nothing is needed for it but bash.
get() {
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return
  printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
  sed '1,/^\r*$/d' <&3
  exec 3>&-
}

demo() {
  local images=$LAKEBASE_CACHE/images.env builder port=${TODO_PORT:-5001}
  export PATH=$bin:$PATH
  prepare_machine
  # Beside the compiler: most of it is waiting for downloads.
  LAKEBASE_LOG=$LAKEBASE_CACHE/images.log "$here/tests/images/build.sh" >"$images" &
  builder=$!
  build || { wait "$builder" || true; exit 1; }
  install_programs
  wait "$builder" || die "there are no base images for examples/todo"
  recorded demo "$todo" - || record demo "$todo" -
  if [[ -s $images ]]; then write_ours "$todo/.env" <"$images"; elif is_marked "$todo/.env"; then rm -f "$todo/.env"; fi
  [[ -e $todo/lakebase.config ]] || write_ours "$todo/lakebase.config" <"$todo/lakebase.config.example"

  step "Starting the embedded Lakebase"
  logged cargo-lakebase embedded start
  cd "$todo"
  step "Making the project, and production with its 120,000 tasks"
  logged cargo-lakebase init
  logged cargo-lakebase psql --parent -- -f production/seed.sql
  step "docker compose lakebase up -d"
  logged docker compose lakebase up -d --build --wait --wait-timeout 180
  get "$port" /api/health | grep -q '"ok"' || die "the backend does not answer on port $port: cd examples/todo && docker compose lakebase logs backend"
  farewell "$port"
}

farewell() {
  local info
  info=$(get "$1" /api/info | tr -d '\n')
  cat <<TEXT

The to-do app runs on a branch of production, made for this git branch:
  $info

Open  http://localhost:$1/api/tasks    production's tasks
      http://localhost:$1/api/info     which database it is

Try next, in examples/todo:
  cargo lakebase status                                 the branch, its age, when it goes
  cargo lakebase psql -- -c 'SELECT count(*) FROM tasks'
  git switch -c try-it && docker compose lakebase up -d    a second branch of its own
  docker compose lakebase destroy                       ends it and deletes the branch; production stays
  docker compose --profile local up -d                  the same app on a local, empty Postgres
TEXT
  if [[ :$path_before: != *:$bin:* ]]; then printf '\nFirst: %s\n' "export PATH=\"$bin:\$PATH\""; fi
}

# ---- Uninstall ------------------------------------------------------------------------------------------------------

each() { awk -F '\t' -v kind="$1" '$1 == kind && !seen[$2 FS $3]++ { print $2 "\t" $3 }' "$manifest"; }

uninstall() {
  local purge=$1 path detail
  if [[ ! -e $manifest ]]; then
    step "Nothing is installed"
    return
  fi
  while IFS=$'\t' read -r path detail; do uninstall_demo "$path"; done < <(each demo)
  if [[ -x $bin/cargo-lakebase ]] && is_ours "$bin/cargo-lakebase"; then
    step "Stopping the embedded Lakebase"
    logged "$bin/cargo-lakebase" embedded stop || warn "the embedded Lakebase could not be stopped"
    if [[ -n $purge ]]; then
      step "Deleting the embedded Lakebase's data"
      logged "$bin/cargo-lakebase" embedded reset --yes || die "the data could not be deleted; nothing was uninstalled"
    fi
  fi
  step "Removing the programs"
  while IFS=$'\t' read -r path detail; do
    { is_ours "$bin/docker-compose-lakebase" && DOCKER_CONFIG=$detail "$bin/docker-compose-lakebase" doors remove "$path"; } ||
      warn "take $path out of \`cliPluginsExtraDirs\` in $detail/config.json by hand"
  done < <(each door)
  while IFS=$'\t' read -r path detail; do
    if [[ ! -e $path && ! -L $path ]]; then continue; fi
    if is_ours "$path"; then rm -f "$path"; else warn "$path has changed since it was installed; it stays"; fi
  done < <(each link && each file)
  # The deepest first; only those that nobody else has put something into.
  local folders
  folders=$(each folder | cut -f 1 | sort -r)
  rm -f "$manifest"
  while IFS= read -r path; do
    if [[ -n $path ]]; then rmdir "$path" 2>/dev/null || true; fi
  done <<<"$folders"
  rm -f "$LAKEBASE_CACHE"/{images.env,images.log,install.log,install.log.old}
  rmdir "$LAKEBASE_CACHE" 2>/dev/null || true
  note "done; Docker, PostgreSQL and other packages of the system stay, and so do container images"
  [[ -n $purge ]] || note "the embedded Lakebase's data stays too (--uninstall --purge deletes it)"
}

# The demo's containers and files; its volumes stay.
uninstall_demo() {
  local folder=$1 file
  [[ -e $folder/compose.yaml ]] || return 0
  step "Ending the demo in $folder"
  if engine_answers; then
    (cd "$folder" && logged docker compose --profile '*' down --remove-orphans) || warn "the demo's containers could not be removed"
  fi
  for file in "$folder/.env" "$folder/lakebase.config"; do
    if is_marked "$file"; then rm -f "$file"; fi
  done
  rm -rf "$folder/.lakebase"
}

# ---------------------------------------------------------------------------------------------------------------------

main() {
  local what=install purge=
  while (($# > 0)); do
    case $1 in
      --demo) what=demo ;;
      --yes | -y) yes=yes ;;
      --uninstall) what=uninstall ;;
      --purge) purge=yes ;;
      -h | --help) help && return ;;
      *) fail "no option is called \`$1\`" && help >&2 && return 64 ;;
    esac
    shift
  done
  [[ -z $purge || $what == uninstall ]] || { fail "--purge goes with --uninstall" && return 64; }
  mkdir -p "$LAKEBASE_CACHE"
  [[ ! -e $LAKEBASE_LOG ]] || mv -f "$LAKEBASE_LOG" "$LAKEBASE_LOG.old"
  case $what in
    install)
      build
      install_programs
      ;;
    demo) demo ;;
    uninstall) uninstall "$purge" ;;
  esac
}

main "$@"
