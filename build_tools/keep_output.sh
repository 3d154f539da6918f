#!/bin/sh
# keep_output.sh COMPILER ARGUMENTS: run a compiler and keep what it says in <object>.log, beside the object file that
# -o names: what ptxas says of every kernel, for build_tools/ptxas.py.
object= before=
for argument in "$@"; do
  [ "$before" = -o ] && object=$argument
  before=$argument
done
[ -n "$object" ] || exec "$@"
"$@" > "$object.log" 2>&1
status=$?
cat "$object.log" >&2
exit $status
