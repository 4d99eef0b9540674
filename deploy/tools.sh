#!/bin/sh
# Installs the Debian packages that the demo, the bench and the tests use, unless
# they are there: "tools.sh lab" those of the first two, "tools.sh guest" those
# of the emulated machine and its kernel, "tools.sh" all but these. Run as root;
# without root it only says what is missing.
set -eu

missing=""
need() { # need COMMAND PACKAGE
	command -v "$1" >/dev/null || missing="$missing $2"
}
PATH="$PATH:/usr/sbin:/sbin"
need ip iproute2
need nft nftables
need unshare util-linux
need ping iputils-ping
need conntrack conntrack
need pkill procps
need socat socat
need iperf3 iperf3
need wg wireguard-tools
if [ "${1:-all}" = all ]; then
	need miniupnpd miniupnpd-nftables
	need dig bind9-dnsutils
	need nsupdate bind9-dnsutils
	need dbus-daemon dbus-daemon
	need gcc gcc
	[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
fi

# The guest's kernel is unpacked, not installed: it is none of this machine's.
guest_kernel() {
	dir="$(dirname "$0")/../bin/guest.kernel"
	[ ! -d "$dir" ] || return 0
	[ "$(id -u)" != 0 ] || apt-get update -qq
	image=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p' | head -n 1)
	[ -n "$image" ] || { echo "no package is known to hold the guest's kernel: apt-get update?" >&2; exit 1; }
	echo "getting: $image"
	rm -rf "$dir.part"
	mkdir -p "$dir.part"
	chmod 777 "$dir.part" # apt fetches as a user of its own
	(cd "$dir.part" && apt-get download -qq "$image")
	dpkg-deb -x "$dir.part"/*.deb "$dir.part"
	rm "$dir.part"/*.deb
	chmod 755 "$dir.part"
	mv "$dir.part" "$dir"
}

# What these packages hold would take over the machine's resolver, or answer for it
# on its LAN: it is unpacked as well, and run by tests in namespaces of theirs.
unpacked() {
	[ "$(id -u)" = 0 ] || return 0
	unpack systemd-resolved systemd-resolved
	unpack openresolv openresolv
	unpack resolvconf resolvconf
	apt-cache show avahi-daemon >/dev/null 2>&1 || apt-get update -qq # else nothing is known to depend on anything
	unpack avahi avahi-daemon avahi-utils $(libraries avahi-daemon avahi-utils)
	unpack networkmanager network-manager dnsmasq-base $(libraries network-manager dnsmasq-base)
}
# The C library is the machine's: it must fit the loader.
libraries() { # libraries PACKAGE...
	apt-cache depends "$@" | sed -n 's/^ *Depends: \(lib[^ ]*\)$/\1/p' | grep -v '^libc6' | sort -u
}
unpack() { # unpack FOLDER PACKAGE...
	[ ! -d "/opt/meshd-tools/$1" ] || return 0
	at=$1
	shift
	echo "getting: $*"
	folder=$(mktemp -d)
	chmod 777 "$folder"
	(cd "$folder" && { apt-get download -qq "$@" || { apt-get update -qq && apt-get download -qq "$@"; }; })
	for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder/tree"; done
	mkdir -p /opt/meshd-tools
	mv "$folder/tree" "/opt/meshd-tools/$at"
	rm -rf "$folder"
}
[ "${1:-all}" != guest ] || need qemu-system-x86_64 qemu-system-x86

if [ -z "$missing" ]; then
	[ "${1:-all}" != guest ] || guest_kernel
	[ "${1:-all}" != all ] || unpacked
	exit 0
fi
if [ "$(id -u)" != 0 ]; then
	echo "not root, so these packages cannot be installed:$missing" >&2
	exit 0
fi
echo "installing:$missing"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
[ "${1:-all}" != guest ] || guest_kernel
[ "${1:-all}" != all ] || unpacked
