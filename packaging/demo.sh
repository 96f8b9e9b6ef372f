#!/bin/sh
# The demo: real Dovecot and real Exim on loopback, popauthd between them, everything in a temporary
# directory. `sh packaging/demo.sh` as root on Debian 12 or 13; what is missing is installed first.
#   --once   run through the steps and end: exit 0 only if every step held
#   without  run through the steps, then leave the servers up to try by hand until Ctrl-C
#   --nodes 3  instead: users log in on one node and send through two others, with a Redis between them
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/packaging/setup.sh"

usage() {
    printf 'usage: sh packaging/demo.sh [--nodes 3] [--once]\n' >&2
    exit 64
}

demo=demo.py
if [ "${1-}" = --nodes ]; then
    [ "${2-}" = 3 ] || usage
    demo=nodes.py
    shift 2
fi
case "${1-}" in
'' | --once) ;;
*) usage ;;
esac

prepare
# shellcheck disable=SC2086 # a list of names
need $demo_packages
[ "${1-}" = --once ] || need curl # for what it prints to try
need_exim light
if [ "$demo" = nodes.py ]; then
    need python3-redis
    need_server redis redis-server redis-tools
fi
# In place of this shell, so that a signal to it stops the servers at once.
exec "$python" -B "$root/packaging/demo/$demo" "$@"
