#!/bin/sh
# Builds the gateway's image from this checkout, without an image registry, and prints its name on stdout.
#
#   gateway/image.sh          build where needed, print `lakebase-gateway:<version>-<hash of the sources>`
#   gateway/image.sh --name   only print the name
#
# Nothing is done where the image of these sources is there already. DOCKER names another docker, CARGO another cargo.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
docker=${DOCKER:-docker}
cargo=${CARGO:-cargo}

case "${1-}" in
    "" | --name) ;;
    *) echo "usage: gateway/image.sh [--name]" >&2; exit 64 ;;
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

if [ "${1-}" = --name ] || "$docker" image inspect "$image" >/dev/null 2>&1; then
    echo "$image"
    exit 0
fi

triple=$(rustc -vV | sed -n 's/^host: //p')
# Its own folder: other flags than the workspace's would rebuild everything there, back and forth.
target=${CARGO_TARGET_DIR:-"$root/target"}/static
# With --target the flags reach the binary alone, not build scripts and macros, which can't be static.
RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
    "$cargo" build --locked --release --target "$triple" --target-dir "$target" -p lakebase-gateway --bin lakebase-gateway >&2

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
trap 'exit 1' HUP INT TERM
cp "$target/$triple/release/lakebase-gateway" gateway/Dockerfile "$context/"
"$docker" build -q --build-arg "VERSION=$version" -t "$image" "$context" >&2
echo "$image"
