package punch

// rememberedBoots is how many starts of a peer keep a window. Probes of older
// starts are refused by their tag's hour soon enough.
const rememberedBoots = 4

// replays refuses probes that were seen before. A peer counts its probes from
// each start (boot) on; every remembered boot has a sliding window of its own.
// The zero value has seen nothing. Unsafe for concurrent use.
type replays struct {
	windows []window // most recently used first
}

// fresh reports whether the probe numbered seq within boot is new, and
// remembers it.
func (r *replays) fresh(boot, seq uint64) bool {
	for i, w := range r.windows {
		if w.boot == boot {
			ok := w.accept(seq)
			copy(r.windows[1:], r.windows[:i])
			r.windows[0] = w
			return ok
		}
	}
	w := window{boot: boot}
	w.accept(seq)
	r.windows = append([]window{w}, r.windows[:min(len(r.windows), rememberedBoots-1)]...)
	return true
}

// window is RFC 6479's idea for a span of 64: probes come a few a second and
// are hardly reordered by more.
type window struct {
	boot uint64
	top  uint64 // highest number seen
	seen uint64 // bit i: top-i was seen
}

func (w *window) accept(seq uint64) bool {
	switch {
	case seq > w.top:
		w.seen = w.seen<<min(seq-w.top, 64) | 1 // a shift by 64 or more clears it
		w.top = seq
		return true
	case w.top-seq >= 64:
		return false
	}
	bit := uint64(1) << (w.top - seq)
	old := w.seen & bit
	w.seen |= bit
	return old == 0
}
