package throttle

import (
	"slices"
	"sort"
)

// A window is spend.lua in Go, for when Redis is gone: the admissions that may still count,
// oldest first, in microseconds of a clock that never goes back.
type window struct {
	at    []int64
	start int   // at[:start] is stale
	keep  int64 // how long an admission may count
}

// judge returns how many are left of limit in the last us (fewer than cost: refused), and in
// how many microseconds cost will be admitted and all will be.
func (w *window) judge(now, us int64, limit, cost int) (left int, one, all int64) {
	for w.start < len(w.at) && now-w.at[w.start] >= w.keep {
		w.start++
	}
	live := w.at[w.start:]
	if us < w.keep {
		live = live[sort.Search(len(live), func(i int) bool { return now-live[i] < us }):]
	}
	left = limit - len(live)
	if len(live) > 0 {
		all = live[len(live)-1] + us - now
	}
	if left < cost {
		one = live[cost-left-1] + us - now
	}
	return left, one, all
}

// admit must follow a judge that left enough, at the same now.
func (w *window) admit(now int64, cost int) {
	if w.start > 16 && w.start > len(w.at)/2 {
		w.at = slices.Delete(w.at, 0, w.start)
		w.start = 0
	}
	for range cost {
		w.at = append(w.at, now)
	}
}

// stale tells that nothing in it counts any more.
func (w *window) stale(now int64) bool {
	return len(w.at) == 0 || now-w.at[len(w.at)-1] >= w.keep
}
