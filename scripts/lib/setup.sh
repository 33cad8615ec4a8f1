# shellcheck shell=bash
# Shared by the scripts: installs missing packages, builds. To be sourced; sets the current folder to the
# top of the project.

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit

say() { printf '\n== %s\n' "$*"; }

fail() {
  printf '\n%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# The packages that every build needs; the scripts add to them.
# shellcheck disable=SC2034
build_packages=(g++ make cmake libeigen3-dev libxsimd-dev)

# install_packages PACKAGE... installs with apt what is missing. ADR_SKIP_SETUP=1 switches it off, for
# systems where the packages come from elsewhere.
install_packages() {
  [ "${ADR_SKIP_SETUP:-0}" = 1 ] && return
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    fail "packages are installed with apt (Debian, Ubuntu), which is not here. Install what these
contain and set ADR_SKIP_SETUP=1: $*"
  fi
  local package missing=()
  for package in "$@"; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
      missing+=("$package")
    fi
  done
  [ ${#missing[@]} -eq 0 ] && return

  say "Installing with apt: ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "not root, and sudo is not here. As root, run:
  apt-get update && apt-get install ${missing[*]}"
    echo "(not root: using sudo)"
    as_root=(sudo)
  fi
  as_root+=(env DEBIAN_FRONTEND=noninteractive)
  if ! "${as_root[@]}" apt-get update -qq ||
     ! "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null; then
    fail "apt could not install: ${missing[*]}
(no network, or no right to install). Install them and run this script again."
  fi
}

# build_project FOLDER OPTION... -- TARGET... configures and builds in a folder.
build_project() {
  local folder=$1 options=()
  shift
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  shift
  say "Building in $folder/"
  cmake -S . -B "$folder" -DCMAKE_BUILD_TYPE=Release "${options[@]}"
  cmake --build "$folder" --parallel "$(nproc)" --target "$@"
}
