#!/usr/bin/env bash
# Base images for examples/todo where no image registry answers: stand-ins built from Debian's and PyPI's packages, under
# names of our own. Prints the variables that choose them, and nothing where the official images can be had.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../machine.sh
source "$here/../machine.sh"

help() {
  cat <<'HELP'
Usage: tests/images/build.sh [--help | --names]

Prints KEY=VALUE lines for examples/todo/.env (TODO_PYTHON_IMAGE, TODO_POSTGRES_IMAGE, TODO_REDIS_IMAGE), after building
what they name. Prints nothing where the official images are present or a registry offers them.

  --names  print the names of all images that this may build, and build nothing

LAKEBASE_IMAGES  auto (default), official, or standin
HELP
}

# The official images, as examples/todo names them by itself.
readonly OFFICIAL=(python:3.13-slim postgres:17 redis/redis-stack-server:7.4.0-v3)
readonly SUITE=trixie
readonly BASE=lakebase-standin/debian:$SUITE
readonly PYTHON=lakebase-standin/python:3.13
readonly POSTGRES=lakebase-standin/postgres:17
readonly REDIS=lakebase-standin/redis-stack:7.4
readonly LABEL=lakebase.recipe
readonly CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt
readonly CA_INSIDE=/usr/local/share/lakebase-standin/ca-bundle.crt

have_image() { docker image inspect "$1" >/dev/null 2>&1; }
official_are_here() { docker image inspect "${OFFICIAL[@]}" >/dev/null 2>&1; }
registry_answers() { timeout 10 docker manifest inspect "${OFFICIAL[0]}" >/dev/null 2>&1; }

# One hash over everything that goes into an image: its files, the image it is built from, and the given words.
recipe() {
  local folder=$1
  shift
  {
    [[ -z $folder ]] || (cd "$folder" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
    printf '%s\n' "$@"
  } | sha256sum | cut -c 1-16
}
built_by() { docker image inspect --format "{{index .Config.Labels \"$LABEL\"}}" "$1" 2>/dev/null; }

# pip's own settings for this machine, for pip inside the images. A password has no place there: everybody who has an image
# can read it.
pip_conf() {
  local index=${PIP_INDEX_URL:-}
  [[ -n $index ]] || index=$(python3 -m pip config get global.index-url 2>/dev/null || true)
  if [[ $index =~ ^([a-z+]+://)[^/@]*@(.*)$ ]]; then
    index=${BASH_REMATCH[1]}${BASH_REMATCH[2]}
    warn "pip's index has a login in its URL; pip inside the images uses it without"
  fi
  printf '[global]\ndisable-pip-version-check = true\nroot-user-action = ignore\n'
  [[ -z $index ]] || printf 'index-url = %s\n' "$index"
}

# A minimal Debian made by debootstrap, with this machine's certificates in it so that pip and npm work inside.
build_base() {
  local wanted mirror conf folder
  conf=$(pip_conf)
  wanted=$(recipe "" 1 "$SUITE" "$conf" "$(sha256sum "$CA_BUNDLE" 2>/dev/null)")
  [[ $(built_by "$BASE") != "$wanted" ]] || return 0
  mirror=$(debian_mirror) || return
  # debootstrap writes it into the image.
  [[ $mirror != *://*@* ]] || { fail "the Debian mirror of this machine has a login in its URL, which an image would give away"; return 1; }
  machine_install debootstrap || return
  step "Building $BASE"
  folder=$(as_root mktemp -d /var/tmp/lakebase-debootstrap.XXXXXX) || return
  # Ended half-way, it may still have /proc mounted.
  # shellcheck disable=SC2064 # The folder of now.
  trap "as_root rm -rf --one-file-system '$folder'" EXIT
  fill_base "$folder" "$mirror" "$conf" && import_base "$folder" "$wanted"
}

fill_base() {
  local folder=$1 mirror=$2 conf=$3 keyring
  keyring=$(debian_keyring)
  logged as_root debootstrap --variant=minbase ${keyring:+"--keyring=$keyring"} "$SUITE" "$folder" "$mirror" || return
  if [[ -e $CA_BUNDLE ]]; then as_root install -D -m 644 "$CA_BUNDLE" "$folder$CA_INSIDE" || return; fi
  as_root tee "$folder/etc/pip.conf" >/dev/null <<<"$conf" || return
  as_root find "$folder/var/cache/apt/archives" "$folder/var/lib/apt/lists" -type f -delete
}

import_base() {
  local folder=$1 wanted=$2 name
  local change=(--change "LABEL $LABEL=$wanted" --change 'CMD ["bash"]' --change 'ENV LANG=C.UTF-8')
  if [[ -e $CA_BUNDLE ]]; then
    for name in SSL_CERT_FILE PIP_CERT REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS; do
      change+=(--change "ENV $name=$CA_INSIDE")
    done
  fi
  as_root tar -C "$folder" -c . | logged docker import "${change[@]}" - "$BASE"
}

# build IMAGE FOLDER FROM…: builds a Dockerfile unless the image is there and of this very recipe.
build() {
  local image=$1 folder=$here/$2 wanted arguments=() from
  shift 2
  wanted=$(recipe "$folder" "$(for from in "$@"; do built_by "${from#*=}"; done)")
  [[ $(built_by "$image") != "$wanted" ]] || return 0
  step "Building $image"
  for from in "$@"; do arguments+=(--build-arg "$from"); done
  logged docker build -t "$image" --label "$LABEL=$wanted" "${arguments[@]}" "$folder"
}

main() {
  case ${1:-} in
    '') ;;
    -h | --help) help && return ;;
    --names) printf '%s\n' "$REDIS" "$POSTGRES" "$PYTHON" "$BASE" && return ;;
    *) help >&2 && return 64 ;;
  esac
  case ${LAKEBASE_IMAGES:=auto} in
    official) return ;;
    auto)
      official_are_here && return
      have_image "$REDIS" || ! registry_answers || return 0
      ;;
    standin) ;;
    *) die "LAKEBASE_IMAGES is \`$LAKEBASE_IMAGES\`: it can be auto, official or standin" ;;
  esac
  if [[ $(os_release ID) != debian || $(uname -m) != x86_64 ]]; then
    die "no image registry answers, and stand-in images can be built on Debian on x86_64 only: check the network, or \`docker pull ${OFFICIAL[0]}\`"
  fi
  (build_base) || return # In a shell of its own, for its trap.
  build "$PYTHON" python "BASE=$BASE" || return
  build "$POSTGRES" postgres "BASE=$BASE" || return
  build "$REDIS" redis "BASE=$BASE" "PYTHON=$PYTHON" || return
  printf '%s\n' "TODO_PYTHON_IMAGE=$PYTHON" "TODO_POSTGRES_IMAGE=$POSTGRES" "TODO_REDIS_IMAGE=$REDIS"
}

main "$@"
