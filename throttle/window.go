package throttle

import (
	"slices"
	"sort"
)

// A window does in Go what spend.lua does in Redis; it is used while Redis is gone. It holds the
// admissions that may still count, oldest first, in microseconds of a clock that never goes back.
type window struct {
	admissions []int64
	firstLive  int   // admissions[:firstLive] count no more
	keep       int64 // how long an admission may count
}

// judgeEvent returns how many events are left of limit in the last us microseconds (fewer than
// cost: the event is refused), and in how many microseconds an event of that cost will be admitted,
// and the whole limit will be available.
func (w *window) judgeEvent(now, us int64, limit, cost int) (left int, one, all int64) {
	for w.firstLive < len(w.admissions) && now-w.admissions[w.firstLive] >= w.keep {
		w.firstLive++
	}
	live := w.admissions[w.firstLive:]
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

// addAdmissions admits an event. It must follow a judgeEvent that left enough, at the same now.
func (w *window) addAdmissions(now int64, cost int) {
	if w.firstLive > 16 && w.firstLive > len(w.admissions)/2 {
		w.admissions = slices.Delete(w.admissions, 0, w.firstLive)
		w.firstLive = 0
	}
	for range cost {
		w.admissions = append(w.admissions, now)
	}
}

// isStale tells whether no admission in it counts any more.
func (w *window) isStale(now int64) bool {
	return len(w.admissions) == 0 || now-w.admissions[len(w.admissions)-1] >= w.keep
}
