package server

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/redisx"
)

// maxLoggedEntries bounds the entries that are known to have been logged. After that many, they are
// forgotten, and may be logged once more.
const maxLoggedEntries = 10_000

// unreadableEntries counts the stored entries that the features left out because they cannot be
// read, and logs each of them once.
type unreadableEntries struct {
	log     *zap.Logger
	counter *prometheus.CounterVec // by feature

	mu     sync.Mutex
	logged map[string]struct{} // key and entry; guarded by mu
}

func newUnreadableEntries(log *zap.Logger) *unreadableEntries {
	return &unreadableEntries{
		log: log, logged: map[string]struct{}{},
		counter: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_unreadable_entries_total", Help: "Reads that left out a stored entry because it cannot be read.",
		}, []string{"feature"}),
	}
}

// record counts and logs err if it is about an entry that was left out, and returns whether it is.
func (u *unreadableEntries) record(feature string, err error) bool {
	var left *redisx.UnreadableError
	if !errors.As(err, &left) {
		return false
	}
	u.counter.WithLabelValues(feature).Inc()
	if u.isNew(left.Key + " " + left.Entry) {
		u.log.Warn("a stored entry cannot be read and is left out",
			zap.String("feature", feature), zap.String("key", left.Key), zap.String("entry", left.Entry))
	}
	return true
}

func (u *unreadableEntries) isNew(entry string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.logged[entry]; known {
		return false
	}
	if len(u.logged) >= maxLoggedEntries {
		clear(u.logged)
	}
	u.logged[entry] = struct{}{}
	return true
}
