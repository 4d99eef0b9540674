package punch

import (
	"testing"

	"meshd/punch/wire"
)

func TestWhoOffersToRelay(t *testing.T) {
	const (
		eif  = wire.EndpointIndependent
		adf  = wire.AddressDependent
		apdf = wire.AddressPortDependent
	)
	public := func(filtering wire.Behaviour, sure bool) Report {
		return Report{UDP: true, Mapping: wire.EndpointIndependent, Filtering: filtering, FilteringSure: sure}
	}
	home := func(filtering wire.Behaviour, sure bool) Report {
		r := public(filtering, sure)
		r.NAT = true
		return r
	}
	symmetric := home(eif, true)
	symmetric.Mapping = wire.AddressPortDependent
	for _, tt := range []struct {
		name   string
		offer  Offer
		mapped bool
		report Report
		want   bool
	}{
		{"public", OfferAuto, false, public(eif, true), true},
		{"public, as far as a hub with one address can tell", OfferAuto, false, public(adf, false), true},
		{"public, with a firewall", OfferAuto, false, public(apdf, true), false},
		{"public, with a firewall that lets addresses in", OfferAuto, false, public(adf, true), false},
		{"full cone", OfferAuto, false, home(eif, true), true},
		{"full cone or restricted cone", OfferAuto, false, home(adf, false), false},
		{"home", OfferAuto, false, home(apdf, true), false},
		{"home with a forwarded port", OfferAuto, true, home(apdf, true), true},
		{"symmetric that lets everyone in", OfferAuto, false, symmetric, false},
		{"nothing is known", OfferAuto, false, Report{}, false},
		{"public, not willing", OfferOff, true, public(eif, true), false},
		{"home, willing", OfferOn, false, home(apdf, true), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.offer.relays(tt.mapped, &tt.report); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
