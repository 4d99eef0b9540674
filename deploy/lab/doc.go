// Package lab builds an internet of Linux network namespaces on one machine, to
// run meshd in as its users do: a core, hubs with public addresses, sites behind
// gateways that do real NAT, and hosts behind those.
//
//	           core (routes public addresses, counts and cuts flows)
//	         /      |        \
//	      hub    gateway    gateway          each line: a veth pair, or a
//	203.0.113.1   (NAT)      (NAT)           delayed link through this process
//	                |        |     \
//	             laptop     nas    desk      192.168.1.0/24 at every site
//
// It knows namespaces, links, nftables and processes. It knows nothing of meshd:
// tests and the demo start the real binary in a [Host] and read what it prints,
// and verdicts come from the bytes that the core counted.
//
// Every host has namespaces of its own for network, mounts, processes and host
// name, and folders of its own in place of /run and /var/lib. Its first process
// waits for this one: however the run ends, all of it is gone with it, and
// nothing of the machine's own network is ever touched.
//
// It needs Linux, root, iproute2, nftables and util-linux.
package lab
