package stun

import (
	"encoding/binary"
	"net/netip"
	"slices"

	pion "github.com/pion/stun/v3"
)

// MaxReply is the size of the largest reply in bytes: three IPv6 addresses.
const MaxReply = headerSize + 3*24

// maxUnknown bounds the attributes listed in a refusal, and so its size.
const maxUnknown = 8

// Reply is a response and where it has to be sent from: the address that the
// request came to, except for what has to be the alternate address's.
type Reply struct {
	Data                       []byte
	FromOtherIP, FromOtherPort bool
	Port                       uint16 // of the request's source address to send it to
}

// Respond answers a Binding request that src sent to local. other is the
// server's alternate address; its IP or its port may be local's, which then
// can't be changed, and zero means that there is none. The addresses are those
// that clients know: where local is unspecified the response doesn't tell them.
// It reports false for anything that deserves no answer.
func Respond(req []byte, src, local, other netip.AddrPort) (Reply, bool) {
	if src.Port() == 0 || !src.Addr().IsValid() {
		return Reply{}, false
	}
	m, old, ok := decodeRequest(req)
	if !ok || m.Type != pion.BindingRequest {
		return Reply{}, false
	}
	change, refused := parseChange(m, local, other)
	port, valid := parsePort(m, src.Port())
	if !valid {
		refused = append(refused, pion.AttrResponsePort)
	}
	if len(refused) > 0 {
		return Reply{Data: refusal(m, refused, old), Port: src.Port()}, true
	}
	origin := local
	if change.IP {
		origin = netip.AddrPortFrom(other.Addr(), origin.Port())
	}
	if change.Port {
		origin = netip.AddrPortFrom(origin.Addr(), other.Port())
	}
	if other.Addr() == local.Addr() {
		other = netip.AddrPort{}
	}
	data := success(m, src, origin, other, old)
	return Reply{Data: data, FromOtherIP: change.IP, FromOtherPort: change.Port, Port: port}, true
}

// oldCookie is what a request of RFC 3489 has in the place of the magic cookie:
// four more bytes of its transaction ID. Nil means that the cookie is there.
type oldCookie []byte

// decodeRequest reads a request. One of RFC 3489 differs in nothing but the
// cookie, so it is read with the cookie put in.
func decodeRequest(b []byte) (*pion.Message, oldCookie, bool) {
	if len(b) < headerSize || binary.BigEndian.Uint32(b[4:]) == cookie {
		m, ok := decode(b)
		return m, nil, ok
	}
	b = slices.Clone(b)
	old := oldCookie(slices.Clone(b[4:8]))
	binary.BigEndian.PutUint32(b[4:], cookie)
	m, ok := decode(b)
	return m, old, ok
}

// parseChange reads CHANGE-REQUEST. It returns the attributes that can't be
// served: unknown ones, or CHANGE-REQUEST for a change that the server lacks the
// address for.
func parseChange(m *pion.Message, local, other netip.AddrPort) (Change, pion.UnknownAttributes) {
	refused := unknown(m, pion.AttrChangeRequest, pion.AttrResponsePort)
	value, err := m.Get(pion.AttrChangeRequest)
	if err != nil {
		return Change{}, refused
	}
	if len(value) != 4 {
		return Change{}, append(refused, pion.AttrChangeRequest)
	}
	change := Change{IP: value[3]&changeIP != 0, Port: value[3]&changePort != 0}
	if change.IP && (!other.IsValid() || other.Addr() == local.Addr()) ||
		change.Port && (!other.IsValid() || other.Port() == local.Port()) {
		refused = append(refused, pion.AttrChangeRequest)
	}
	return change, refused
}

// parsePort reads RESPONSE-PORT, which is good for the address alone that the
// request came from. Without one the answer goes to the port that asked.
func parsePort(m *pion.Message, asked uint16) (port uint16, ok bool) {
	value, err := m.Get(pion.AttrResponsePort)
	if err != nil {
		return asked, true
	}
	if len(value) != 2 && len(value) != 4 { // clients differ in whether padding counts
		return 0, false
	}
	port = binary.BigEndian.Uint16(value)
	return port, port != 0
}

func success(m *pion.Message, src, origin, other netip.AddrPort, old oldCookie) []byte {
	reply := start(m, pion.BindingSuccess)
	if old == nil {
		ip, port := src.Addr().Unmap().AsSlice(), int(src.Port())
		// It fails for an IP of a wrong length, which netip has none of.
		_ = (&pion.XORMappedAddress{IP: ip, Port: port}).AddTo(reply)
		add(reply, pion.AttrResponseOrigin, origin)
		add(reply, pion.AttrOtherAddress, other)
		return reply.Raw
	}
	add(reply, pion.AttrMappedAddress, src)
	add(reply, pion.AttrSourceAddress, origin)
	add(reply, pion.AttrChangedAddress, other)
	return old.restore(reply)
}

func refusal(m *pion.Message, refused pion.UnknownAttributes, old oldCookie) []byte {
	reply := start(m, pion.BindingError)
	// These fail for unknown codes and too long lists.
	_ = pion.CodeUnknownAttribute.AddTo(reply)
	_ = refused[:min(len(refused), maxUnknown)].AddTo(reply)
	return old.restore(reply)
}

func start(m *pion.Message, kind pion.MessageType) *pion.Message {
	return pion.MustBuild(pion.NewTransactionIDSetter(m.TransactionID), kind)
}

// add adds an address, if there is one to tell.
func add(m *pion.Message, kind pion.AttrType, a netip.AddrPort) {
	if a.IsValid() && !a.Addr().IsUnspecified() {
		_ = (&pion.MappedAddress{IP: a.Addr().Unmap().AsSlice(), Port: int(a.Port())}).AddToAs(m, kind)
	}
}

// restore puts an old client's bytes back into a reply.
func (old oldCookie) restore(reply *pion.Message) []byte {
	copy(reply.Raw[4:8], old)
	return reply.Raw
}
