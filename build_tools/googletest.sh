#!/usr/bin/env bash
# Make sure that GoogleTest is there: Debian's libgtest-dev is installed where it is missing and may be.
set -euo pipefail

found() {
  local prefix
  for prefix in /usr /usr/local ${CMAKE_PREFIX_PATH:-} ${CONDA_PREFIX:-}; do
    [ -f "$prefix/include/gtest/gtest.h" ] && return 0
  done
  return 1
}

found && exit 0
install="apt-get install -y --no-install-recommends libgtest-dev"
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if command -v apt-get > /dev/null; then
  echo "GoogleTest is missing: $as_root $install"
  export DEBIAN_FRONTEND=noninteractive
  $as_root apt-get update -qq || true
  $as_root $install > /dev/null || true
fi
found && exit 0
echo "GoogleTest is missing and could not be installed; the C++ tests need it: $install" >&2
exit 1
