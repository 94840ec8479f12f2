package throttle

import "slices"

// A window is spend.lua in Go, for when Redis is gone: the admissions that may still count,
// oldest first, in microseconds of a clock that never goes back.
type window struct {
	at    []int64
	start int   // at[:start] is stale
	us    int64 // how long an admission counts
}

// judge returns how many are left (none: refused), and in how many microseconds one will be
// admitted and all will be.
func (w *window) judge(now int64, limit int) (left int, one, all int64) {
	for w.start < len(w.at) && now-w.at[w.start] >= w.us {
		w.start++
	}
	live := w.at[w.start:]
	left = limit - len(live)
	if len(live) > 0 {
		all = live[len(live)-1] + w.us - now
	}
	if left <= 0 {
		one = live[-left] + w.us - now
	}
	return left, one, all
}

// admit must follow a judge that left something, at the same now.
func (w *window) admit(now int64) {
	if w.start > 16 && w.start > len(w.at)/2 {
		w.at = slices.Delete(w.at, 0, w.start)
		w.start = 0
	}
	w.at = append(w.at, now)
}

// stale tells that nothing in it counts any more.
func (w *window) stale(now int64) bool {
	return len(w.at) == 0 || now-w.at[len(w.at)-1] >= w.us
}
