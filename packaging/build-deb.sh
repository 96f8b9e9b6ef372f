#!/bin/sh
# Builds the Debian package: `sh packaging/build-deb.sh [DIRECTORY]`, as any user, without network.
#
# The source is copied aside and debian/ is made in the copy, so the tree stays as it is. popauthd_VERSION_all.deb
# (with its .changes and .buildinfo) ends up in DIRECTORY, or dist/. The same source gives the same .deb, whoever
# builds it, wherever and whenever, on the same release of Debian. The build's own packages: apt-get install debhelper dh-python
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
into=${1:-$root/dist}
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TZ=UTC
umask 022

fail() {
    printf 'build-deb.sh: %s\n' "$*" >&2
    exit 1
}

command -v dpkg-buildpackage >/dev/null && command -v dh >/dev/null && command -v dh_python3 >/dev/null ||
    fail "the build tools are missing; as root: apt-get install --no-install-recommends debhelper dh-python"

mkdir -p "$into"
into=$(cd "$into" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/popauthd-build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

copy=$work/popauthd
mkdir "$copy"
cd "$root"
tar -cf - --exclude=__pycache__ --exclude='.*_cache' popauthd exim dovecot packaging README.md CHANGELOG.md LICENSE pyproject.toml |
    tar -C "$copy" -xf - --no-same-owner --no-same-permissions
cd "$copy"
# What may execute is said by debian/rules; here nothing depends on the builder's umask.
find . -type d -exec chmod 755 {} +
find . -type f -exec chmod 644 {} +
chmod 755 packaging/bin/* exim/readlookup
mv packaging/debian debian
chmod 755 debian/rules debian/tests/*
chmod 644 debian/tests/control
cp packaging/systemd/popauthd.service debian/popauthd.service
cp packaging/systemd/popauthd-lookup.service debian/popauthd.popauthd-lookup.service
cp packaging/systemd/popauthd-lookup.socket debian/popauthd.popauthd-lookup.socket
# Only Debian 12's lintian knows this tag; to a newer one an override of it is an error.
grep -q '^VERSION_ID="12"' /etc/os-release ||
    sed -i '/^# Only systemd/d; /no-init.d-script/d' debian/popauthd.lintian-overrides
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -S Timestamp)
export SOURCE_DATE_EPOCH
# dpkg-deb makes younger files as old as this; older ones, as a checkout may have, are ours to set.
find . -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

# -d: what it needs was looked for above; the rest of build-essential is for compilers.
dpkg-buildpackage -us -uc -b -d >"$work/log" 2>&1 || {
    tail -n 40 "$work/log" >&2
    fail "the build failed"
}
for file in "$work"/popauthd_*; do
    mv "$file" "$into/"
done
ls "$into"/popauthd_"$(dpkg-parsechangelog -S Version)"_all.deb
