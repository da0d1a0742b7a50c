#!/usr/bin/env bash
# Builds and installs `docker compose lakebase` and `cargo lakebase` for this user; with --demo, shows them on examples/todo.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/machine.sh
source "$here/tests/machine.sh"
# shellcheck source=examples/demo.sh
source "$here/examples/demo.sh"

help() {
  cat <<'HELP'
Usage: ./install.sh [--demo [--yes]] | --uninstall [--purge] | --help

Builds the programs and installs them for this user; needs Rust and a C compiler, no root, and can be run again.

  --demo       everything for a first look: Docker, Compose and PostgreSQL if they are missing, the embedded Lakebase with
               a production of 120,000 tasks, and examples/todo on a branch of it
  --yes        ask nothing: install what is missing from the system's packages (Debian and Ubuntu, as root or with sudo);
               where git has no user name or e-mail, set them in this clone alone, after the login name; where HEAD is
               detached, make a git branch `lakebase-demo-COMMIT` for it
  --uninstall  remove what was installed, the demo's containers, and what --demo told git; packages of the system stay, and
               so do the embedded Lakebase's data, the demo's volumes, container images and the record of your branches
  --purge      with --uninstall: those data, volumes, images and that record too

CARGO_INSTALL_ROOT, DOCKER_CONFIG, XDG_DATA_HOME  where things go, instead of ~/.cargo, ~/.docker, ~/.local/share
LAKEBASE_CACHE                            folder for logs and downloads, instead of ~/.cache/lakebase
HELP
}

bin=${CARGO_INSTALL_ROOT:-${CARGO_HOME:-$HOME/.cargo}}/bin
docker_config=${DOCKER_CONFIG:-$HOME/.docker}
data=${XDG_DATA_HOME:-$HOME/.local/share}/lakebase
# What was installed, a line each: kind, path, detail; tabs between. Written before the thing itself.
manifest=$data/installed
LAKEBASE_LOG=$LAKEBASE_CACHE/install.log
path_before=$PATH
yes=

# ---- What is ours ---------------------------------------------------------------------------------------------------

record() {
  [[ -d $data ]] || make_folder "$data"
  printf '%s\t%s\t%s\n' "$@" >>"$manifest"
}
recorded() { [[ -e $manifest ]] && grep -qxF -- "$(printf '%s\t%s\t%s' "$@")" "$manifest"; }

# Each path and detail of a kind, once.
each() {
  [[ -e $manifest ]] || return 0
  awk -F '\t' -v kind="$1" '$1 == kind && !seen[$2 FS $3]++ { print $2 "\t" $3 }' "$manifest"
}

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
  local from=$1 to=$2 mode=${3:-755} hash
  hash=$(hash_of "$from")
  [[ ! -L $to && -e $to && $(hash_of "$to") == "$hash" ]] && recorded file "$to" "$hash" && return
  make_folder "$(dirname "$to")"
  record file "$to" "$hash"
  cp "$from" "$to.lakebase-new" && chmod "$mode" "$to.lakebase-new" && mv -f "$to.lakebase-new" "$to"
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
  for path in "$bin"/{cargo-lakebase,docker-compose-lakebase} "$docker_config/cli-plugins/docker-lakebase" "$data/cli-plugins/docker-compose" "$data/gateway/"{lakebase-gateway,Dockerfile,tag}; do
    refuse_foreign "$path"
  done
  has cargo || die "cargo is missing: install Rust with rustup (rustup.rs)"
  machine_check cc >&2 || exit 1
  step "Building (some minutes the first time; what cargo says is in $LAKEBASE_LOG)"
  (cd "$here" && logged cargo build --release --locked -p cargo-lakebase -p docker-compose-lakebase)
}

target_folder() { (cd "$here" && cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'); }

install_programs() {
  local target shim=$data/cli-plugins name
  target=$(target_folder)/release
  step "Installing into $bin"
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

# What the gateway's image is built from, so that `up` can build it on whichever engine it talks to; and the image itself
# where one answers already.
install_gateway() {
  local from to=$data/gateway name image without="\`connect = \"gateway\"\` needs the image lakebase-gateway"
  if [[ $(uname -s) != Linux ]]; then
    warn "$without, which is built on Linux only: there, gateway/image.sh, then docker save and docker load"
    return
  fi
  step "Building the gateway"
  from=$(target_folder)/gateway
  logged "$here/gateway/image.sh" --into "$from" || { warn "$without; its static binary also needs libc.a (Fedora: dnf install glibc-static)" && return; }
  image=$(cat "$from/tag")
  put_file "$from/lakebase-gateway" "$to/lakebase-gateway"
  put_file "$from/Dockerfile" "$to/Dockerfile" 644
  put_file "$from/tag" "$to/tag" 644
  if engine_answers && ! docker image inspect "$image" >/dev/null 2>&1; then
    recorded image "$image" - || record image "$image" -
    logged docker build -t "$image" "$to" || warn "the image $image could not be built; \`docker compose lakebase up\` tries again"
  fi
}

# ---- Uninstall ------------------------------------------------------------------------------------------------------

# Where a program of ours was installed, whatever the environment says today.
our_program() {
  local path rest
  while IFS=$'\t' read -r path rest; do
    if [[ ${path##*/} == "$1" && -x $path ]] && is_ours "$path"; then printf '%s\n' "$path" && return; fi
  done < <(each file)
  return 1
}

# What the agent keeps in its folder (docker-compose-lakebase/src/agent.rs says where), once it has ended.
uninstall_agent() {
  local folder=${1:-$HOME/.local/state/lakebase/agent}
  until_true 10 test ! -e "$folder/agent.sock" || return 0
  rm -f "$folder"/{agent.lock,agent.log,projects.json}
  rmdir "$folder" 2>/dev/null || return 0
  [[ -z ${1:-} ]] || return 0
  # Empty ones only, those that it may have made.
  for folder in "$HOME"/.local/state/lakebase "$HOME"/.local/state "$HOME"/.local; do
    rmdir "$folder" 2>/dev/null || break
  done
  return 0
}

# What this machine knows of the branches that it made (shared/src/record.rs and forks.rs say where).
uninstall_record() {
  local folder=${XDG_STATE_HOME:-$HOME/.local/state}/lakebase
  rm -f "$folder"/{branches.json,branches.lock,.lakebase-new} "$folder"/forks/{*.json,lock,.lakebase-new} "$folder"/checks/*.{json,new}
  rmdir "$folder/forks" "$folder/checks" "$folder" 2>/dev/null || true
}

uninstall() {
  local purge=$1 path detail program stays=()
  if [[ ! -e $manifest ]]; then
    step "Nothing is installed"
    return
  fi
  while IFS=$'\t' read -r path detail; do uninstall_demo "$path" "$detail"; done < <(each demo)
  while IFS=$'\t' read -r path detail; do forget_git_user "$path" && forget_git_branch "$path"; done < <(each git-user && each git-branch)
  [[ -z $purge ]] || uninstall_record
  if program=$(our_program docker-compose-lakebase); then
    "$program" agent --stop || true # It would end by itself ten minutes after the last gateway.
    case ${XDG_RUNTIME_DIR:-} in
      /*) uninstall_agent "$XDG_RUNTIME_DIR/lakebase" ;;
      *) uninstall_agent ;;
    esac
  fi
  if program=$(our_program cargo-lakebase); then
    step "Stopping the embedded Lakebase"
    path=$("$program" embedded status 2>/dev/null | sed -n 's/^home: //p')
    [[ ! -e $path/state.json ]] || stays+=("the embedded Lakebase's data: $path")
    logged "$program" embedded stop || warn "the embedded Lakebase could not be stopped"
    if [[ -n $purge ]]; then
      step "Deleting the embedded Lakebase's data"
      logged "$program" embedded reset --yes || die "the data could not be deleted; nothing was uninstalled"
    fi
  fi
  while IFS= read -r detail; do
    if [[ -z $purge ]]; then
      stays+=("docker $detail")
    else
      # shellcheck disable=SC2086 # A kind and a name.
      logged docker ${detail/ / rm } || warn "something else uses the $detail; it stays"
    fi
  done < <(made_in_docker)
  step "Removing the programs"
  while IFS=$'\t' read -r path detail; do
    { program=$(our_program docker-compose-lakebase) && DOCKER_CONFIG=$detail "$program" doors remove "$path"; } ||
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
  note "done; Docker, PostgreSQL and other packages of the system stay"
  if [[ -z $purge ]] && ((${#stays[@]} > 0)); then
    note "this stays too, where --uninstall --purge would have deleted it:"
    for detail in "${stays[@]}"; do note "  $detail"; done
  fi
}

# The images and volumes that are there because of us, each as `image NAME` or `volume NAME`.
made_in_docker() {
  local kind name
  engine_answers || return 0
  while read -r kind name _; do
    if docker "$kind" inspect "$name" >/dev/null 2>&1; then printf '%s %s\n' "$kind" "$name"; fi
  done < <(each volume | sed 's/^/volume /' && each image | sed 's/^/image /')
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
      install_gateway
      ;;
    demo) demo ;;
    uninstall) uninstall "$purge" ;;
  esac
}

main "$@"
