package tunnel

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"meshd/agent/tunnel/filter"
)

// What the kernel's WireGuard takes in, the kernel filters: by a table of our own,
// with the interface's name, which is there while not everything may begin.
//
//	table inet meshd-meshd0 {
//		chain inbound {
//			type filter hook prerouting priority filter
//			iifname != "meshd0" accept
//			ct state established,related accept
//			meta l4proto tcp th dport 22 accept
//			drop
//		}
//	}
//
// It drops in prerouting, so that nothing is forwarded, either. Tables of others
// have their say besides.

// filterTable names the table of an interface.
func filterTable(iface string) *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: "meshd-" + iface}
}

func filterChain(t *nftables.Table) *nftables.Chain {
	return &nftables.Chain{
		Name: "inbound", Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityFilter,
	}
}

// setKernelFilter makes the table of an interface what the rules want, in one step.
func setKernelFilter(iface string, rules filter.Rules) error {
	if rules == nil {
		return dropKernelFilter(iface)
	}
	conn, err := nftables.New()
	if err != nil {
		return filterError(iface, err)
	}
	table := filterTable(iface)
	conn.AddTable(table) // so that there is one to delete
	conn.DelTable(table)
	conn.AddTable(table)
	chain := conn.AddChain(filterChain(table))
	for _, exprs := range filterRules(iface, rules) {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
	}
	if err := conn.Flush(); err != nil {
		return filterError(iface, err)
	}
	return nil
}

// kernelFilterStands reports whether the table has the rules that it was given.
func kernelFilterStands(iface string, rules filter.Rules) bool {
	conn, err := nftables.New()
	if err != nil {
		return true // who knows
	}
	table := filterTable(iface)
	have, err := conn.GetRules(table, filterChain(table))
	return err == nil && slices.EqualFunc(have, filterRules(iface, rules), func(r *nftables.Rule, want []expr.Any) bool {
		return reflect.DeepEqual(r.Exprs, want)
	})
}

// dropKernelFilter removes the table. That there is none is no error.
func dropKernelFilter(iface string) error {
	conn, err := nftables.New()
	if err != nil {
		return filterError(iface, err)
	}
	conn.DelTable(filterTable(iface))
	if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) && !noTables(err) {
		return filterError(iface, err)
	}
	return nil
}

// noTables reports whether an error means that the kernel knows no nftables.
func noTables(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL)
}

func filterError(iface string, err error) error {
	return &Error{
		Message: fmt.Sprintf("filter what comes in by %q: %v", iface, err),
		Hint:    "the kernel's WireGuard needs nftables for that: load nf_tables and nft_ct, use --backend userspace, or let everything in",
		cause:   err,
	}
}

// filterRules are the chain, rule by rule.
func filterRules(iface string, rules filter.Rules) [][]expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, iface)
	accept, drop := &expr.Verdict{Kind: expr.VerdictAccept}, &expr.Verdict{Kind: expr.VerdictDrop}
	chain := [][]expr.Any{
		{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name}, accept},
		{
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{
				SourceRegister: 1, DestRegister: 1, Len: 4, Xor: make([]byte, 4),
				Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
			},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
			accept,
		},
	}
	for _, r := range rules {
		if r.Proto == filter.ICMP {
			chain = append(chain, append(isProto(unix.IPPROTO_ICMP), accept), append(isProto(unix.IPPROTO_ICMPV6), accept))
			continue
		}
		chain = append(chain, append(isProto(byte(r.Proto)),
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: binaryutil.BigEndian.PutUint16(r.First), ToData: binaryutil.BigEndian.PutUint16(r.Last)},
			accept))
	}
	return append(chain, []expr.Any{drop})
}

func isProto(n byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{n}}}
}
