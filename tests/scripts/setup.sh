#!/bin/sh
# Installs the system packages that `make test` and `make demo` need, on Debian 12 or later and its
# kin. Says for each what it is for; skips what is there; does nothing on the second run.
set -eu

# One line for each: a program or file that proves it is there, the Debian package, what it is for.
needs() {
    cat <<'LIST'
cc          gcc               linking the Rust build and its C parts
/usr/include/stdio.h libc6-dev the same
ip          iproute2          links, addresses, routes and rules of the lab's hosts
nft         nftables          NAT, Services and partitions in the lab
wg          wireguard-tools   reading the tunnels as an operator would
ping        iputils-ping      reachability in the lab
conntrack   conntrack         a NAT router that forgets its flows
nsenter     util-linux        entering a host of a kept lab
sysctl      procps            settings before a join and after a leave
kubectl     kubernetes-client talking to sealane-broker as to an API server
curl        curl              asking the agent's admin socket, as README.md shows
script      bsdutils          a terminal for the commands of README.md that ask there
LIST
}

# System programs are not in every user's path.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

has() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing=
while read -r program package purpose; do
    has "$program" && continue
    printf 'to install: %-18s %s\n' "$package" "$purpose"
    missing="$missing $package"
done <<LIST
$(needs)
LIST

if [ -z "$missing" ]; then
    [ "${1:-}" = --quiet ] || echo "setup: every system package is there"
    exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: no apt-get here: install by hand:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "setup: neither root nor sudo: as root, run: apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    as_root=sudo
fi

export DEBIAN_FRONTEND=noninteractive
# Package names have no spaces: the list is meant to split.
# shellcheck disable=SC2086
install() { $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null; }
if ! install 2>/dev/null; then
    # Most often the lists are missing (a fresh container) or old.
    $as_root apt-get update -qq
    install
fi

while read -r program package purpose; do
    if ! has "$program"; then
        echo "setup: $package is installed, but $program ($purpose) is not there" >&2
        exit 1
    fi
done <<LIST
$(needs)
LIST
echo "setup: done"
