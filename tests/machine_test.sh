#!/usr/bin/env bash
# Tests of tests/machine.sh that need no network: the mirror out of every way to write apt's sources, versions, processes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=machine.sh
source "$here/machine.sh"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export APT_CONFIG=$folder/apt.conf
passed=0 failed=0

expect() {
  local what=$1 wanted=$2 found=$3
  if [[ $found == "$wanted" ]]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED: %s: wanted "%s", found "%s"\n' "$what" "$wanted" "$found"
  fi
}

# The mirror that debian_mirror finds in a sources file (from standard input) of this name, on a Debian called bookworm.
mirror_in() {
  rm -rf "$folder/parts"
  mkdir "$folder/parts"
  cat >"$folder/parts/$1"
  printf 'Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "%s";\n' "$folder/parts" >"$APT_CONFIG"
  debian_mirror 2>/dev/null || echo none
}
os_release() { case $1 in ID) echo debian ;; VERSION_CODENAME) echo bookworm ;; esac; }

if has apt-get; then
  expect "one-line sources" http://one.example/debian "$(mirror_in a.list <<'SOURCES'
# deb http://off.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://one.example/debian/ bookworm main contrib
deb http://one.example/debian-security bookworm-security main
SOURCES
)"
  expect "deb822 sources" https://two.example/debian "$(mirror_in a.sources <<'SOURCES'
Types: deb deb-src
URIs: https://two.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: https://two.example/debian
Suites: bookworm bookworm-updates
Components: main non-free-firmware
SOURCES
)"
  expect "another vendor's packages first" http://three.example/debian "$(mirror_in a.list <<'SOURCES'
deb https://vendor.example/linux/debian bookworm stable
deb https://other.example/apt bookworm-other main
deb http://three.example/debian stable main
SOURCES
)"
  printf '# mirrors\nhttp://four.example/debian\npriority:1\n' >"$folder/mirrors"
  expect "a list of mirrors" http://four.example/debian "$(mirror_in a.list <<<"deb mirror+file:$folder/mirrors bookworm main")"
  expect "no mirror" none "$(mirror_in a.list <<<'deb https://vendor.example/linux/debian bookworm stable')"
fi

version_case() { if version_at_least "$1" "$2"; then echo yes; else echo no; fi; }
expect "2.24.0 is 2.24" yes "$(version_case 2.24.0 2.24)"
expect "2.40.3-3 is 2.24" yes "$(version_case 2.40.3-3 2.24)"
expect "2.3.4 is not 2.24" no "$(version_case 2.3.4 2.24)"
expect "1.29.2 is not 2.24" no "$(version_case 1.29.2 2.24)"

process_case() { if is_process "$1" "$2"; then echo yes; else echo no; fi; }
expect "this shell is bash" yes "$(process_case $$ "$(cat "/proc/$$/comm" 2>/dev/null || echo bash)")"
expect "this shell is not dockerd" no "$(process_case $$ dockerd)"
expect "no process" no "$(process_case '' dockerd)"

expect "an unknown part" 1 "$(machine_check nonsense >/dev/null 2>&1; echo $?)"
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
