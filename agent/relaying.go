package agent

import "meshd/punch"

// offers are what the setting relay means.
var offers = map[string]punch.Offer{"": punch.OfferAuto, wordAuto: punch.OfferAuto, wordOn: punch.OfferOn, wordOff: punch.OfferOff}
