#!/bin/sh
# All tests: `sh tests/run.sh [PYTEST ARGUMENT...]` as root on Debian 12 or 13; what is missing is installed first.
#   1. ruff, ruff format, mypy --strict
#   2. the Debian package built, and its life on clean bookworm and trixie systems and on machines that boot
#      (up to half an hour; left out, and said, where root may not make namespaces; alone:
#      `sh tests/run.sh -m package tests/system`)
#   3. everything else with Debian's own libraries, real Dovecot and Exim included, and branch coverage; and
#      the unit and fault tests of what stands on them with the newest watchdog, pygtail, lmdb and redis of PyPI
# With arguments only 1, and 3 for what they select, one after the other.
# Exits non-zero if anything failed; a part that failed before pytest's own summary is named before it.
# Long campaigns are commands of their own: tests/bench, tests/faults, tests/sim.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/packaging/setup.sh"

failed=

# part NAME COMMAND...: runs it; a failure is remembered, and the next part runs all the same.
part() {
    name=$1
    shift
    printf '== %s\n' "$name"
    began=$(date +%s)
    "$@" || failed="$failed $name,"
    printf '== %s took %s s\n' "$name" "$(($(date +%s) - began))"
}

# Whether this root may make a system of its own with its network, processes and mounts.
may_make_systems() {
    unshare --net --mount --pid --ipc --fork --mount-proc ip link set lo up 2>/dev/null
}

# One Debian release beside the other: each has its own systems, and its own core on most machines.
package_life() {
    "$debian" -m pytest -q -p no:cacheprovider -m package -k bookworm tests/system >"$cache/package-bookworm.log" 2>&1 &
    other=$!
    life=0
    "$debian" -m pytest -q -m package -k 'not bookworm' tests/system || life=$?
    wait "$other" || life=$?
    cat "$cache/package-bookworm.log"
    return "$life"
}

# Rooms that know nothing of watchdog, pygtail, lmdb and redis (tests/unit/test_layers.py holds them to that): their tests would
# only be the same again.
without_libraries='formats policy config eximsetup dovecotcheck'

# The same arguments, but never real servers (--ignore does not hold for a file that is named); that none of them
# selects a test here (5) is no failure.
with_newest() {
    for room in $without_libraries; do
        set -- "$@" "--ignore=tests/unit/$room" "--deselect=tests/unit/$room/"
    done
    "$newest" -m pytest -q -p no:cacheprovider --ignore=tests/system --deselect=tests/system/ "$@" || [ $? = 5 ]
}

# covered NAME ARGUMENT...: pytest with Debian's libraries; what is covered goes into a file of that name.
covered() {
    COVERAGE_FILE=$cache/coverage-$1
    export COVERAGE_FILE
    shift
    "$debian" -m pytest --cov --cov-branch --cov-report= "$@"
}

# Two halves of about the same length, each with its own core on most machines. Tests with real servers have their own
# directories and ports, so that they may run beside each other.
everything_else() {
    {
        part "pytest with the newest libraries" with_newest
        part "pytest tests/system from f on, tests/faults, tests/sim" covered others -q -p no:cacheprovider \
            --ignore-glob='tests/system/test_[a-e]*' tests/system tests/faults tests/sim
        [ -z "$failed" ]
    } >"$cache/other-half.log" 2>&1 &
    other=$!
    half=0
    (
        part "pytest tests/unit" covered unit -q -p no:cacheprovider tests/unit
        part "pytest tests/system up to e" covered servers --ignore-glob='tests/system/test_[f-z]*' tests/system
        [ -z "$failed" ]
    ) || half=$?
    wait "$other" || half=$?
    cat "$cache/other-half.log"
    return "$half"
}

# venv NAME PACKAGE...: a virtual environment on top of Debian's packages. Made again when what it is for,
# or Python, has changed; one that was cut off has no stamp.
venv() {
    venv=$cache/venv-$1
    shift
    wanted=$("$python" -V; cat "$root/tests/requirements.txt"; echo "$root $*")
    if [ ! -e "$venv/stamp" ] || [ "$(cat "$venv/stamp")" != "$wanted" ]; then
        say "making $venv"
        rm -rf "$venv"
        "$python" -m venv --system-site-packages "$venv" >>"$cache/pip.log" 2>&1 || fail "cannot make $venv (see $cache/pip.log)"
        "$venv/bin/python" -m pip install -q --upgrade -r "$root/tests/requirements.txt" "$@" >>"$cache/pip.log" 2>&1 || {
            tail -n 15 "$cache/pip.log" >&2
            fail "pip install failed (all of its output is in $cache/pip.log)"
        }
        printf '%s\n' "$wanted" >"$venv/stamp"
    fi
}

prepare
mounted sysfs /sys kernel # where not even root may make a file
# systemd's journal tools and zstd: for the journal source, and for logs that were rotated into .zst
# shellcheck disable=SC2086 # a list of names
need $demo_packages curl python3-venv python3-redis python3-systemd systemd systemd-journal-remote xz-utils zstd logrotate mandoc
need debhelper dh-python lintian mmdebstrap arch-test iproute2 util-linux faketime strace
need_exim light heavy
need_server courier courier-imap courier-pop
need_server perdition perdition
need_server rsyslog rsyslog rsyslog-relp
need_server redis redis-server redis-tools
[ "${cache##*/}" = bookworm ] || need_server valkey valkey-server valkey-tools # Debian 12 has none
venv debian
debian=$venv/bin/python
venv newest watchdog pygtail lmdb redis
newest=$venv/bin/python

cd "$root"
part "ruff check" "$debian" -m ruff check -q
part "ruff format" "$debian" -m ruff format --check -q
part "mypy" "$debian" -m mypy
if [ $# = 0 ]; then
    # In continuous integration it must run: there a machine that cannot is a failure.
    if [ "${POPAUTHD_CI:-no}" = yes ] || may_make_systems; then
        part "the life of the package" package_life
    else
        printf '== LEFT OUT: the life of the package (root may not make namespaces here)\n'
    fi
    part "everything else" everything_else
else
    part "pytest with the newest libraries" with_newest "$@"
    part "pytest" covered these "$@"
fi
rm -f "$cache/covered.txt"
"$debian" -m coverage combine -q --data-file="$cache/coverage" "$cache"/coverage-* &&
    "$debian" -m coverage report --data-file="$cache/coverage" >"$cache/covered.txt"
printf '== covered: %s (all files: %s)\n' "$(grep TOTAL "$cache/covered.txt")" "$cache/covered.txt"
[ -z "$failed" ] || fail "FAILED:$failed see above"
