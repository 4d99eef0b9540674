package portmap

import (
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Fake gateways have addresses of their own in 127.0.0.0/8, so that they can have
// the ports of real ones.

var lastGateway atomic.Uint32

func fakeTarget(t *testing.T) target {
	t.Helper()
	n := lastGateway.Add(1)
	addr := netip.AddrFrom4([4]byte{127, 53, byte(n >> 8), byte(n)})
	return target{Gateway{Addr: addr, Local: netip.MustParseAddr("127.0.0.1")}, 41641, 7200 * time.Second}
}

// serveUDP answers datagrams to the gateway by f, which returns what to send back.
func serveUDP(t *testing.T, addr netip.Addr, port uint16, f func([]byte) [][]byte) {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for _, b := range f(buf[:n]) {
				conn.WriteToUDPAddrPort(b, from)
			}
		}
	})
	t.Cleanup(func() { conn.Close(); served.Wait() })
}

// fakeIGD is a gateway that speaks UPnP.
type fakeIGD struct {
	description string                                                 // of the device; %s: where it is
	web         http.HandlerFunc                                       // instead of all that follows
	soap        func(action string, args map[string]string) (any, int) // what to answer, or an error code
	location    string                                                 // instead of the right one
}

// serve starts the gateway and returns the URL of its web server.
func (d fakeIGD) serve(t *testing.T, addr netip.Addr) string {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	handler := http.NewServeMux()
	base := "http://" + l.Addr().String()
	handler.HandleFunc("GET /desc.xml", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.ReplaceAll(d.description, "%s", base))
	})
	handler.HandleFunc("POST /{service}", func(w http.ResponseWriter, r *http.Request) { d.control(w, r) })
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
	if d.web != nil {
		server.Config.Handler = d.web
	}
	server.Start()
	t.Cleanup(server.Close)
	location := base + "/desc.xml"
	if d.location != "" {
		location = d.location
	}
	serveUDP(t, addr, ssdpPort, func(b []byte) [][]byte {
		if !strings.HasPrefix(string(b), "M-SEARCH * HTTP/1.1\r\n") {
			return nil
		}
		return [][]byte{fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nLOCATION: %s\r\n\r\n", location)}
	})
	return base
}

// control answers a SOAP call.
func (d fakeIGD) control(w http.ResponseWriter, r *http.Request) {
	var envelope struct {
		Body struct {
			Call struct {
				XMLName xml.Name
				Args    []struct {
					XMLName xml.Name
					Value   string `xml:",chardata"`
				} `xml:",any"`
			} `xml:",any"`
		} `xml:"Body"`
	}
	if err := xml.NewDecoder(r.Body).Decode(&envelope); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	call := envelope.Body.Call
	args := map[string]string{"service": r.PathValue("service")}
	for _, a := range call.Args {
		args[a.XMLName.Local] = a.Value
	}
	answer, code := d.soap(call.XMLName.Local, args)
	body := fmt.Sprintf("<u:%sResponse xmlns:u=%q>%v</u:%[1]sResponse>", call.XMLName.Local, call.XMLName.Space, answer)
	if code != 0 {
		w.WriteHeader(http.StatusInternalServerError)
		body = fmt.Sprintf(`<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>`+
			`<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>%d</errorCode><errorDescription>as told</errorDescription>`+
			`</UPnPError></detail></s:Fault>`, code)
	}
	fmt.Fprintf(w, `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" `+
		`s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>%s</s:Body></s:Envelope>`, body)
}
