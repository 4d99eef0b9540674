// Package inkernel tries punch/relay/inkernel on real packets: a sender, a relay and a
// receiver in network namespaces of their own, joined by veth pairs. It is tests only,
// and they need root.
package inkernel
