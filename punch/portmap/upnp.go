package portmap

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/dcps/internetgateway2"
	"github.com/huin/goupnp/soap"
)

// Errors of UPnP services (WANIPConnection:1 §2.4, :2 §2.5,
// WANIPv6FirewallControl:1 §2.6). The rest only matter as refusals.
const (
	upnpInvalidArgs    = 402
	upnpActionFailed   = 501
	upnpNoSuchPinhole  = 704
	upnpNoSuchEntry    = 714
	upnpConflict       = 718
	upnpPermanentOnly  = 725
	upnpOtherMechanism = 729
)

// upnpError makes a *refusal of what a device answered; other errors stay.
func upnpError(err error) error {
	if code := upnpCode(err); code != 0 {
		fault, _ := errors.AsType[*soap.SOAPFaultError](err)
		return refuse("error %d %.60q", code, fault.Detail.UPnPError.ErrorDescription)
	}
	return err
}

// upnpCode is the device's error code; 0 means that it gave none.
func upnpCode(err error) int {
	fault, ok := errors.AsType[*soap.SOAPFaultError](err)
	if !ok {
		return 0
	}
	return fault.Detail.UPnPError.Errorcode
}

// findDevice looks for a device on the gateway, of which use can make something.
func findDevice(ctx context.Context, g Gateway, use func(*goupnp.RootDevice, *url.URL) error) error {
	web := webClient(g)
	return discover(ctx, g, func(u *url.URL) error {
		root, err := describe(ctx, web, u)
		if err != nil {
			return err
		}
		return use(root, u)
	})
}

// equip gives a service's client the HTTP client that reaches the gateway only.
func equip(c *goupnp.ServiceClient, g Gateway) { c.SOAPClient.HTTPClient = *webClient(g) }

// connection is a WAN connection service, of whichever kind.
type connection interface {
	GetServiceClient() *goupnp.ServiceClient
	GetExternalIPAddressCtx(ctx context.Context) (string, error)
	AddPortMappingCtx(ctx context.Context, remote string, external uint16, protocol string, internal uint16,
		client string, enabled bool, description string, lease uint32) error
	GetSpecificPortMappingEntryCtx(ctx context.Context, remote string, external uint16, protocol string) (
		internal uint16, client string, enabled bool, description string, lease uint32, err error)
	DeletePortMappingCtx(ctx context.Context, remote string, external uint16, protocol string) error
}

// connections are the WAN connection services of a device, the newest kind first.
func connections(root *goupnp.RootDevice, u *url.URL) []connection {
	var list []connection
	ip2, _ := internetgateway2.NewWANIPConnection2ClientsFromRootDevice(root, u) // the error says: none
	ip1, _ := internetgateway2.NewWANIPConnection1ClientsFromRootDevice(root, u)
	ppp, _ := internetgateway2.NewWANPPPConnection1ClientsFromRootDevice(root, u)
	for _, c := range ip2 {
		list = append(list, c)
	}
	for _, c := range ip1 {
		list = append(list, c)
	}
	for _, c := range ppp {
		list = append(list, c)
	}
	return list
}

// pinholes is the service that opens IPv6 firewalls.
func pinholes(root *goupnp.RootDevice, u *url.URL) (*internetgateway2.WANIPv6FirewallControl1, error) {
	list, err := internetgateway2.NewWANIPv6FirewallControl1ClientsFromRootDevice(root, u)
	if err != nil || len(list) == 0 {
		return nil, fmt.Errorf("device %.60q opens no pinholes", root.Device.FriendlyName)
	}
	return list[0], nil
}
