#!/bin/sh
# Installs what `make demo`, `make bench`, `make test` or `make test-deep` needs on Debian 12 or later and
# its kin: `setup.sh demo|bench|test|deep`, each with what stands before it. Says for each package what it is for;
# skips what is there; does nothing on the second run.
set -eu

case ${1:-test} in
demo) stages=demo ;;
bench) stages='demo bench' ;;
test) stages='demo bench test' ;;
deep) stages='demo bench test deep' ;;
*) echo "setup: $1 is none of demo, bench, test, deep" >&2; exit 2 ;;
esac

# One line for each: the first that needs it, a program or file that proves it is there, the Debian
# package, what it is for.
needs() {
    while read -r stage program package purpose; do
        case " $stages " in
        *" $stage "*) echo "$program $package $purpose" ;;
        esac
    done <<LIST
demo cc          gcc               linking the Rust build and its C parts
demo /usr/include/stdio.h libc6-dev the same
demo ip          iproute2          links, addresses, routes and rules of the lab's hosts
demo nft         nftables          NAT, Services and partitions in the lab
demo wg          wireguard-tools   reading the tunnels as an operator would
demo ping        iputils-ping      reachability in the lab
demo conntrack   conntrack         a NAT router that forgets its flows
demo nsenter     util-linux        entering a host of a kept lab
demo sysctl      procps            settings before a join and after a leave
demo kubectl     kubernetes-client talking to sealane-broker as to an API server
demo curl        curl              asking the agent's admin socket, as README.md shows
bench go         golang-go         building wireguard-go, kube-apiserver and etcd: not packaged, or too old
test wg-quick    wireguard-tools   lanes that are made the usual way
test qemu-system-x86_64 qemu-system-x86 a guest whose kernel has WireGuard, by software alone
test modprobe    kmod              which modules of that kernel need which
test busybox     busybox           the guest's shell
test script      bsdutils          a terminal for the commands of README.md that ask there
test setpriv     util-linux        programs that end with the test that started them
deep openssl     openssl           reading an API server's pin, as charts/README.md shows
deep systemd-nspawn systemd-container a machine that systemd boots, for the units
deep mmdebstrap  mmdebstrap        the Debian that this machine runs
LIST
}

# What is no package: unpacked below the folder of test assets.
unpack() {
    case $stages in
    *deep) guest_kernel; debian_tree ;;
    *test) guest_kernel ;;
    esac
}

# System programs are not in every user's path.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

has() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

as_root=
[ "$(id -u)" -eq 0 ] || as_root=sudo

# The guest's kernel is unpacked below the folder of test assets, not installed: this machine is not
# to boot it.
assets=${SEALANE_ASSETS:-$HOME/.cache/sealane}
guest_kernel() {
    for kernel in "$assets"/guest/boot/vmlinuz-*-cloud-amd64 /boot/vmlinuz-*-cloud-amd64; do
        if [ -e "$kernel" ]; then return; fi
    done
    echo "to unpack:  linux-image-cloud-amd64 into $assets/guest (kernel WireGuard for the interop tests)"
    name() {
        apt-cache depends linux-image-cloud-amd64 2>/dev/null |
            sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\).*/\1/p' | head -n 1
    }
    package=$(name)
    if [ -z "$package" ]; then
        $as_root apt-get update -qq
        package=$(name)
    fi
    if [ -z "$package" ]; then
        echo "setup: no package linux-image-cloud-amd64 here: tests with kernel WireGuard will fail" >&2
        return
    fi
    mkdir -p "$assets"
    work=$(mktemp -d "$assets/guest.XXXXXX")
    # root's download is fetched by a user who may not write here: apt says so and goes on.
    (cd "$work" && apt-get download -qq "$package" 2>/dev/null && dpkg-deb -x ./*.deb root)
    depmod -b "$work/root" "${package#linux-image-}"
    mv "$work/root" "$assets/guest"
    rm -r "$work"
}

# A Debian with systemd as its first program, of the release of this machine, as programs built here
# run on it.
debian_tree() {
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
    tree=$assets/debian-$release
    if [ -e "$tree" ]; then return; fi
    echo "to unpack:  Debian $release into $tree (a machine that systemd boots; about 2 minutes)"
    mkdir -p "$assets"
    work=$(mktemp -d "$assets/debian.XXXXXX")
    # What a host has that runs the units: systemd, D-Bus, and the programs that they and tests call.
    if $as_root mmdebstrap --quiet --variant=minbase --format=directory \
        --include=systemd,systemd-sysv,dbus,iproute2,nftables,procps "$release" "$work/root"; then
        mv "$work/root" "$tree"
    else
        echo "setup: no Debian to boot here: tests of the units will fail" >&2
    fi
    $as_root rm -rf "$work"
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
    unpack
    echo "setup: every system package is there"
    exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: no apt-get here: install by hand:$missing" >&2
    exit 1
fi
if [ -n "$as_root" ] && ! command -v sudo >/dev/null 2>&1; then
    echo "setup: neither root nor sudo: as root, run: apt-get install --no-install-recommends$missing" >&2
    exit 1
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
unpack
echo "setup: done"
