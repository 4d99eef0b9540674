package stun

import (
	"errors"
	"fmt"
	"net/netip"

	pion "github.com/pion/stun/v3"
)

// TxID is the transaction ID of RFC 8489 §5: random for each request, because
// it is all that a response is recognized by.
type TxID [12]byte

// Change wishes the response to come from another address of the server
// (CHANGE-REQUEST, RFC 5780 §7.2).
type Change struct {
	IP, Port bool
}

// Flags in the value of a CHANGE-REQUEST.
const (
	changeIP   = 0x04
	changePort = 0x02
)

// Request returns a Binding request.
func Request(id TxID, change Change) []byte {
	m := request(id)
	if change != (Change{}) {
		m.Add(pion.AttrChangeRequest, change.value())
	}
	return m.Raw
}

// Inquiry returns a Binding request with a CHANGE-REQUEST that changes nothing.
// A server which doesn't know the attribute has to refuse it (RFC 8489 §6.3.1);
// so after a success, silence about a real change is a filter's doing.
func Inquiry(id TxID) []byte {
	m := request(id)
	m.Add(pion.AttrChangeRequest, Change{}.value())
	return m.Raw
}

// RequestTo returns a Binding request whose response is to go to another port at
// the address it came from (RESPONSE-PORT, RFC 5780 §7.5).
func RequestTo(id TxID, port uint16) []byte {
	m := request(id)
	m.Add(pion.AttrResponsePort, []byte{byte(port >> 8), byte(port), 0, 0})
	return m.Raw
}

// RequestID returns the transaction of a Binding request; false for anything else.
func RequestID(b []byte) (TxID, bool) {
	m, ok := decode(b)
	if !ok || m.Type != pion.BindingRequest {
		return TxID{}, false
	}
	return m.TransactionID, true
}

func request(id TxID) *pion.Message {
	return pion.MustBuild(pion.NewTransactionIDSetter(id), pion.BindingRequest)
}

func (change Change) value() []byte {
	var flags byte
	if change.IP {
		flags |= changeIP
	}
	if change.Port {
		flags |= changePort
	}
	return []byte{0, 0, 0, flags}
}

// Response is a success response to a Binding request.
type Response struct {
	TxID   TxID
	Mapped netip.AddrPort // the request's source as the server saw it
	Origin netip.AddrPort // where the server says it sent from; zero: it did not say
	Other  netip.AddrPort // its alternate address, other in IP and port; zero: none
}

// Error is an error response.
type Error struct {
	Code   int // RFC 8489 §14.8; 420 if the server can't change its address
	Reason string
}

// Error says what the server said.
func (e *Error) Error() string {
	return fmt.Sprintf("server refuses the STUN request: %d %q", e.Code, e.Reason)
}

// ErrMessage is returned for a datagram that is no Binding response.
var ErrMessage = errors.New("not a STUN response")

// ParseResponse reads a Binding response. For an error response it returns an
// *Error, with the response's TxID set; any other fault is ErrMessage. The
// caller compares the TxID with what it sent.
func ParseResponse(b []byte) (Response, error) {
	m, ok := decode(b)
	if !ok || m.Type.Method != pion.MethodBinding {
		return Response{}, ErrMessage
	}
	r := Response{TxID: m.TransactionID}
	switch m.Type.Class {
	case pion.ClassSuccessResponse:
	case pion.ClassErrorResponse:
		return r, parseError(m)
	default:
		return Response{}, ErrMessage
	}
	if len(unknown(m, pion.AttrXORMappedAddress, pion.AttrMappedAddress, pion.AttrSourceAddress, pion.AttrChangedAddress)) > 0 {
		return Response{}, ErrMessage
	}
	if r.Mapped = mapped(m); !r.Mapped.IsValid() {
		return Response{}, ErrMessage
	}
	r.Origin = address(m, pion.AttrResponseOrigin)
	r.Other = address(m, pion.AttrOtherAddress)
	return r, nil
}

func parseError(m *pion.Message) error {
	var code pion.ErrorCodeAttribute
	if code.GetFrom(m) != nil {
		return ErrMessage
	}
	return &Error{Code: int(code.Code), Reason: string(code.Reason)}
}

// mapped returns XOR-MAPPED-ADDRESS, or what servers before it say.
func mapped(m *pion.Message) netip.AddrPort {
	var a pion.XORMappedAddress
	if m.Contains(pion.AttrXORMappedAddress) {
		if !isAddress(m, pion.AttrXORMappedAddress) || a.GetFrom(m) != nil {
			return netip.AddrPort{}
		}
		return addrPort(a.IP, a.Port)
	}
	return address(m, pion.AttrMappedAddress)
}

// address returns a plain address attribute; zero if it isn't there.
func address(m *pion.Message, kind pion.AttrType) netip.AddrPort {
	var a pion.MappedAddress
	if !isAddress(m, kind) || a.GetFromAs(m, kind) != nil {
		return netip.AddrPort{}
	}
	return addrPort(a.IP, a.Port)
}

// isAddress reports whether an attribute is there and as long as an address of
// its family (RFC 8489 §14.1). The library would take shorter ones.
func isAddress(m *pion.Message, kind pion.AttrType) bool {
	v, err := m.Get(kind)
	return err == nil && (len(v) == 8 && v[1] == 1 || len(v) == 20 && v[1] == 2)
}

// addrPort returns an address one can send to, else zero.
func addrPort(ip []byte, port int) netip.AddrPort {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok || addr.Unmap().IsUnspecified() || port == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port))
}
