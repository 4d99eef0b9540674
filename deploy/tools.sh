#!/bin/sh
# Installs the Debian packages that the demo, the bench and the tests use, unless
# they are there: "tools.sh lab" those of the first two, "tools.sh" all. Run as
# root; without root it only says what is missing.
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
	need gcc gcc
	[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
fi

[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "not root, so these packages cannot be installed:$missing" >&2
	exit 0
fi
echo "installing:$missing"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
