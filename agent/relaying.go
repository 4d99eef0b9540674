package agent

import "meshd/punch"

// offers are what the setting relay means.
var offers = map[string]punch.Offer{"": punch.OfferAuto, wordAuto: punch.OfferAuto, wordOn: punch.OfferOn, wordOff: punch.OfferOff}

// relaying is what punch is told of relaying by members.
func (s *state) relaying() punch.Relaying {
	return punch.Relaying{Offer: offers[s.Relay], HubOnly: s.UseRelays == wordOff}
}
