package relay

// group is what of one batch goes to one route, in the order in which it came.
type group struct {
	to    route
	bufs  [][]byte
	bytes int
}

// outbox sorts a batch by route, so that what arrived as a bundle leaves as one.
// Batches have few routes, so it looks through all.
type outbox struct {
	all  []*group // the first used of them are in use, the others wait for reuse
	used int
}

// add appends b to the group of its route. It keeps b until clear.
func (o *outbox) add(to route, b []byte) {
	g := o.group(to)
	g.bufs = append(g.bufs, b)
	g.bytes += len(b)
}

func (o *outbox) group(to route) *group {
	for i := o.used - 1; i >= 0; i-- {
		if o.all[i].to == to {
			return o.all[i]
		}
	}
	if o.used == len(o.all) {
		o.all = append(o.all, new(group))
	}
	g := o.all[o.used]
	o.used++
	g.to = to
	return g
}

// groups returns the groups that hold something.
func (o *outbox) groups() []*group { return o.all[:o.used] }

// clear empties the outbox and lets go of all buffers and routes.
func (o *outbox) clear() {
	for _, g := range o.groups() {
		clear(g.bufs)
		*g = group{bufs: g.bufs[:0]}
	}
	o.used = 0
}
