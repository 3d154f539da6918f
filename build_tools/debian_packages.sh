#!/usr/bin/env bash
# Make sure that what the tests need beside Python is there: Debian's packages are installed where they are missing and
# may be. GoogleTest is needed by all of the C++ tests; without the others some tests are skipped, and .ci/run fails.
set -euo pipefail

has_file() {  # has_file PATTERN: below a usual prefix
  local prefix
  for prefix in /usr /usr/local ${CMAKE_PREFIX_PATH:-} ${CONDA_PREFIX:-}; do
    compgen -G "$prefix/$1" > /dev/null && return 0
  done
  return 1
}

# package, what it is for, how to tell that it is there (Ubuntu's chromium is a snap, which counts as well)
has_libgtest_dev() { has_file include/gtest/gtest.h; }
has_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }
has_libosmesa6() { has_file 'lib/*/libOSMesa.so*' || has_file 'lib*/libOSMesa.so*'; }
declare -A purpose=(
  [libgtest-dev]="the C++ tests (GoogleTest)"
  [chromium]="the tests of the report in a browser"
  [libosmesa6]="the tests of the rendered scenes (zoo/tests)"
)

missing() {  # the packages that are not there
  local package
  for package in libgtest-dev chromium libosmesa6; do
    "has_${package//-/_}" > /dev/null || echo "$package"
  done
}

wanted=$(missing)
[ -n "$wanted" ] || exit 0
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
install="apt-get install -y --no-install-recommends"
if command -v apt-get > /dev/null; then
  echo "missing for the tests:" $wanted "->" $as_root $install $wanted
  export DEBIAN_FRONTEND=noninteractive
  $as_root apt-get update -qq || true
  for package in $wanted; do  # one by one: a package that there is not must not keep the others away
    $as_root $install "$package" > /dev/null || true
  done
fi
status=0
for package in $(missing); do
  echo "$package is missing and could not be installed, so that ${purpose[$package]} cannot run; to install it: sudo $install $package" >&2
  [ "$package" = libgtest-dev ] && status=1
done
exit $status
