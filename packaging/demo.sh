#!/bin/sh
# The demo: real Dovecot and real Exim on loopback, popauthd between them, everything in a temporary
# directory. `sh packaging/demo.sh` as root on Debian 12 or 13; what is missing is installed first.
#   --once   run through the steps and end: exit 0 only if every step held
#   without  run through the steps, then leave the servers up to try by hand until Ctrl-C
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/packaging/setup.sh"

case "${1-}" in
'' | --once) ;;
*)
    printf 'usage: sh packaging/demo.sh [--once]\n' >&2
    exit 64
    ;;
esac

prepare
# shellcheck disable=SC2086 # a list of names
need $demo_packages
[ "${1-}" = --once ] || need curl # for what it prints to try
need_exim light
# In place of this shell, so that a signal to it stops the servers at once.
exec "$python" -B "$root/packaging/demo/demo.py" "$@"
