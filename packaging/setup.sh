# Shared by packaging/demo.sh and tests/run.sh, which read it with "."; POSIX sh.
#
# Gets ready what real servers on loopback need, on a bare Debian 12 or 13 and nothing else:
#   packages   Debian's own, installed with apt; only what is missing; no service is ever started
#   Exim       light and heavy are unpacked below .cache/, not installed: whatever mail server this
#              machine has stays, and an Exim of its own is not touched
# The caller sets `root` (the source tree) and runs as root. Everything may be called again; what is
# there is used again. Trouble ends the script with a clear word.

# One for each Debian release, should the tree move between them or the machine be upgraded.
cache=$root/.cache/$(. /etc/os-release && echo "$VERSION_CODENAME")
apt_log=$cache/apt.log
python=/usr/bin/python3
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
umask 022 # what is installed and made here is not for root alone, whatever umask root has

demo_packages="python3 python3-lmdb python3-watchdog python3-pygtail python3-tomli-w dovecot-core dovecot-imapd dovecot-pop3d"
policy=/usr/sbin/policy-rc.d
policy_ours=no
mounts_ours=
apt_updated=no

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

say() {
    printf '%s: %s\n' "${0##*/}" "$*"
}

# Runs at every end; what the caller needs besides goes into its own on_exit.
leave() {
    status=$?
    trap - EXIT
    [ "$policy_ours" = no ] || rm -f "$policy"
    for place in $mounts_ours; do
        umount -l "$place"
    done
    on_exit
    exit "$status"
}
on_exit() { :; }

prepare() {
    [ "$(id -u)" = 0 ] || fail "must run as root: it installs Debian packages, and Dovecot and Exim change users"
    [ -e /etc/debian_version ] && command -v apt-get >/dev/null || fail "works on Debian 12 and 13 only (no apt-get here)"
    mkdir -p "$cache"
    # dash runs no EXIT trap when a signal ends it.
    trap leave EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    mounted proc /proc self # Exim, Dovecot and the tests look into it
}

# mounted TYPE DIRECTORY NAME: NAME in it tells whether it is mounted; a bare chroot has it not.
mounted() {
    [ ! -e "$2/$3" ] || return 0
    mount -t "$1" "$1" "$2" || fail "$2 is not there and cannot be mounted; mount it first"
    mounts_ours="$mounts_ours $2"
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

apt() {
    apt-get -q -y -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=false "$@" >>"$apt_log" 2>&1 || {
        tail -n 15 "$apt_log" >&2
        fail "apt-get $1 failed (all of its output is in $apt_log)"
    }
}

apt_update() {
    [ "$apt_updated" = no ] || return 0
    apt update
    apt_updated=yes
}

# need PACKAGE...: installs those that are missing, and starts nothing.
need() {
    missing=
    for package in "$@"; do
        installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing$missing"
    apt_update
    if [ ! -e "$policy" ]; then
        policy_ours=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    # shellcheck disable=SC2086 # a list of names
    apt install --no-remove $missing
    if [ "$policy_ours" = yes ]; then
        rm -f "$policy"
        policy_ours=no
    fi
}

# The libraries that a .deb depends on: the first name of each alternative, Exim's own packages left out.
libraries_of() {
    dpkg-deb -f "$1" Depends | tr ',' '\n' | sed -E 's/^ *([^ |(]+).*/\1/; /^(exim4|debconf|cron|anacron)/d'
}

# need_exim light|heavy...: unpacks Debian's Exim below .cache/exim/, with the configuration it ships.
need_exim() {
    getent group Debian-exim >/dev/null || groupadd --system Debian-exim
    getent passwd Debian-exim >/dev/null || useradd --system --gid Debian-exim --no-create-home \
        --home-dir /var/spool/exim4 --shell /usr/sbin/nologin Debian-exim
    need netbase # as exim4-base does: Exim looks for its port's name in /etc/services
    unpack exim4-config "$cache/exim/config" usr/sbin/update-exim4.conf
    for flavour in "$@"; do
        unpack "exim4-daemon-$flavour" "$cache/exim/$flavour" usr/sbin/exim4
    done
}

# need_server NAME PACKAGE...: unpacks a mail server, with the libraries that are missing here, below
# .cache/servers/NAME. Nothing is installed or configured: the machine's Dovecot stays.
need_server() {
    server=$cache/servers/$1
    shift
    [ ! -e "$server" ] || return 0
    say "fetching $*"
    apt_update
    fetched=$cache/deb/server-${server##*/}
    rm -rf "$fetched" "$server.new"
    mkdir -p "$fetched" "$server.new"
    cd "$fetched" || fail "cannot enter $fetched"
    wanted=$(apt-get -s -q -y -o APT::Install-Recommends=false install "$@" 2>>"$apt_log" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
    # What this machine has already is needed there too.
    # shellcheck disable=SC2086 # a list of names
    wanted=$(printf '%s\n' "$@" $wanted | sort -u)
    # shellcheck disable=SC2086
    apt download $wanted
    cd "$root" || fail "cannot enter $root"
    for package in "$fetched"/*.deb; do
        dpkg-deb -x "$package" "$server.new" || fail "cannot unpack $package"
    done
    chmod -R u-s "$server.new"
    mv "$server.new" "$server"
}

# unpack PACKAGE DIRECTORY FILE: FILE tells whether it is there.
unpack() {
    [ -e "$2/$3" ] && return 0
    say "fetching $1"
    apt_update
    fetched=$cache/deb/$1
    rm -rf "$fetched" "$2"
    mkdir -p "$fetched" "$2"
    cd "$fetched" || fail "cannot enter $fetched"
    apt download "$1"
    cd "$root" || fail "cannot enter $root"
    # shellcheck disable=SC2046 # a list of names
    need $(libraries_of "$fetched"/*.deb)
    # Unpacked aside and renamed: a run that was cut off leaves nothing that looks complete.
    dpkg-deb -x "$fetched"/*.deb "$2.new" || fail "cannot unpack $1"
    chmod -R u-s "$2.new"
    rm -rf "$2"
    mv "$2.new" "$2"
}
