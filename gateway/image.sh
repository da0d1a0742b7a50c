#!/bin/sh
# Builds the gateway's image from this checkout, without an image registry, and prints its name on stdout.
#
#   gateway/image.sh                 build where needed, print `lakebase-gateway:<version>-<hash of the sources>`
#   gateway/image.sh --into FOLDER   no image, but all that `docker build FOLDER` makes it of: lakebase-gateway, Dockerfile;
#                                    and `tag`, which holds its name
#   gateway/image.sh --name          only print the name
#
# Nothing is done where the image or the folder of these sources is there already. DOCKER names another docker, CARGO another cargo.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
from=$PWD
cd "$root"
docker=${DOCKER:-docker}
cargo=${CARGO:-cargo}

case "${1-}" in
    "" | --name) ;;
    --into)
        folder=${2:?a folder}
        case $folder in /*) ;; *) folder=$from/$folder ;; esac
        ;;
    *) echo "usage: gateway/image.sh [--name | --into FOLDER]" >&2; exit 64 ;;
esac

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version *= *"\(.*\)"/\1/p' Cargo.toml)
# What goes into the binary and the image, in an order of its own; tests and documents do not.
hash=$(
    {
        find gateway/src -type f | LC_ALL=C sort
        printf '%s\n' Cargo.toml Cargo.lock gateway/Cargo.toml gateway/Dockerfile gateway/image.sh
    } | xargs sha256sum | sha256sum | cut -c1-12
)
image="lakebase-gateway:$version-$hash"

# Puts the binary, its Dockerfile and the image's name into a folder.
prepare() {
    if [ "$(cat "$1/tag" 2>/dev/null)" = "$image" ]; then return; fi
    triple=$(rustc -vV | sed -n 's/^host: //p')
    # Its own folder: other flags than the workspace's would rebuild everything there, back and forth.
    target=${CARGO_TARGET_DIR:-"$root/target"}/static
    # With --target the flags reach the binary alone, not build scripts and macros, which can't be static.
    RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
        "$cargo" build --locked --release --target "$triple" --target-dir "$target" -p lakebase-gateway --bin lakebase-gateway >&2
    mkdir -p "$1"
    # Beside and then renamed: one that runs can't be written over, and what is there stays whole.
    cp "$target/$triple/release/lakebase-gateway" "$1/lakebase-gateway.new"
    mv "$1/lakebase-gateway.new" "$1/lakebase-gateway"
    sed "s/^ARG VERSION\$/ARG VERSION=$version/" gateway/Dockerfile >"$1/Dockerfile"
    echo "$image" >"$1/tag" # Last: who finds it finds the rest.
}

if [ "${1-}" = --name ]; then
    echo "$image"
elif [ "${1-}" = --into ]; then
    prepare "$folder"
    echo "$image"
elif "$docker" image inspect "$image" >/dev/null 2>&1; then
    echo "$image"
else
    context=$(mktemp -d)
    trap 'rm -rf "$context"' EXIT
    trap 'exit 1' HUP INT TERM
    prepare "$context"
    "$docker" build -q -t "$image" "$context" >&2
    echo "$image"
fi
