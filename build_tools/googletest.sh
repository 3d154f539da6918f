#!/usr/bin/env bash
# Make sure that GoogleTest is there: Debian's libgtest-dev is installed where it is missing and may be.
set -euo pipefail
for prefix in /usr /usr/local ${CMAKE_PREFIX_PATH:-} ${CONDA_PREFIX:-}; do
  [ -f "$prefix/include/gtest/gtest.h" ] && exit 0
done

install="apt-get install -y --no-install-recommends libgtest-dev"
if command -v apt-get > /dev/null; then
  as_root=""
  [ "$(id -u)" = 0 ] || as_root="sudo -n"
  echo "GoogleTest is missing: $as_root $install"
  export DEBIAN_FRONTEND=noninteractive
  { $as_root apt-get update -qq || true; } && $as_root $install > /dev/null && exit 0
fi
echo "GoogleTest is missing and could not be installed: the C++ tests need it ($install)" >&2
exit 1
