package api

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
)

var alpn = []string{"h2", "http/1.1"} // HTTP/1.1 is for the WebSocket relay, and for curl

// ServerTLS returns the coordinator's side: TLS 1.3, and a client certificate
// with an Ed25519 key, whose owner TLS makes prove it. Whether that key is a
// member's is decided for each call (see [Authenticate]).
func ServerTLS(id *Identity) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{id.Certificate()},
		ClientAuth:   tls.RequireAnyClientCert, // any issuer, any dates: the key alone counts
		VerifyConnection: func(cs tls.ConnectionState) error {
			if _, ok := PeerIdentity(&cs); !ok {
				return errors.New("client certificate carries no Ed25519 key")
			}
			return nil
		},
		NextProtos: alpn,
		// A ticket would carry the client's identity past the handshake that proves
		// it, to save one signature on a connection that lives for days.
		SessionTicketsDisabled: true,
	}
}

// ClientTLS returns the agent's side: TLS 1.3, with the agent's certificate,
// and a coordinator whose key must have this pin.
//
// InsecureSkipVerify turns off the check of issuer, name and dates, which would
// ask a public authority about a key that we know already; it does not turn off
// the proof that the server owns the key of its certificate, which is part of
// every TLS 1.3 handshake (RFC 8446 §4.4.3). VerifyConnection, which also runs
// on resumed sessions, then asks the one question that is left: whether it is
// the pinned key. A clock that is wrong by years changes nothing.
//
// Errors: [*PinError], [*NotCoordinatorError].
func ClientTLS(id *Identity, pin Pin) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{id.Certificate()},
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			key, ok := PeerIdentity(&cs)
			if !ok {
				return &NotCoordinatorError{Found: describe(cs)}
			}
			if got := PinOf(key); got != pin {
				return &PinError{Want: pin, Got: got}
			}
			return nil
		},
		NextProtos: alpn,
	}
}

// PeerIdentity returns the Ed25519 key that the other side proved to own.
func PeerIdentity(cs *tls.ConnectionState) (ed25519.PublicKey, bool) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return nil, false
	}
	key, ok := cs.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	return key, ok
}

func describe(cs tls.ConnectionState) string {
	if len(cs.PeerCertificates) == 0 {
		return "no certificate"
	}
	leaf := cs.PeerCertificates[0]
	return fmt.Sprintf("a certificate for %q with an %v key", leaf.Subject.CommonName, leaf.PublicKeyAlgorithm)
}

type callerKey struct{}

// Authenticate puts the caller's identity into the context of each request, for
// [Caller]. Requests without one are refused; with [ServerTLS] there are none.
func Authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, ok := PeerIdentity(r.TLS)
		if !ok {
			http.Error(w, "a client certificate with an Ed25519 key is needed", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, key)))
	})
}

// Caller returns the identity of whoever makes this call.
func Caller(ctx context.Context) (ed25519.PublicKey, bool) {
	key, ok := ctx.Value(callerKey{}).(ed25519.PublicKey)
	return key, ok
}
