package cache

import (
	"strings"
	"sync"
	"sync/atomic"
)

// Stats are the figures of one Manager since it was made: in total, and by prefix, which is the
// part of a key before its first colon.
type Stats struct {
	Total
	Prefixes map[string]Total `json:"prefixes"`
	// LocalBytes is roughly how much L1 holds.
	LocalBytes uint64 `json:"localBytes"`
}

// Total counts what happened to the keys of one prefix, or of all.
type Total struct {
	LocalHits  uint64  `json:"localHits"`  // served from L1
	Hits       uint64  `json:"hits"`       // served from Redis
	Misses     uint64  `json:"misses"`     // missing, or no longer fresh
	Rate       float64 `json:"rate"`       // share of hits of both kinds in all reads; 0 to 1
	Stale      uint64  `json:"stale"`      // stale values served
	Loads      uint64  `json:"loads"`      // calls of a Loader
	LoadErrors uint64  `json:"loadErrors"` // failed calls of a Loader
	Refreshes  uint64  `json:"refreshes"`  // loads before the end of the TTL
	Errors     uint64  `json:"errors"`     // failed calls to Redis
	Unreadable uint64  `json:"unreadable"` // stored values that could not be decoded, and were misses
	Evictions  uint64  `json:"evictions"`  // from L1, because it was full
}

func (t *Total) addCounts(o Total) {
	t.LocalHits += o.LocalHits
	t.Hits += o.Hits
	t.Misses += o.Misses
	t.Stale += o.Stale
	t.Loads += o.Loads
	t.LoadErrors += o.LoadErrors
	t.Refreshes += o.Refreshes
	t.Errors += o.Errors
	t.Unreadable += o.Unreadable
	t.Evictions += o.Evictions
	t.Rate = 0
	if asked := t.LocalHits + t.Hits + t.Misses; asked > 0 {
		t.Rate = float64(t.LocalHits+t.Hits) / float64(asked)
	}
}

// prefixCounters count the Total of one prefix.
type prefixCounters struct {
	localHits, hits, misses, stale, loads, loadErrors, refreshes, errors, unreadable, evictions atomic.Uint64
}

func (t *prefixCounters) snapshot() (out Total) {
	out.addCounts(Total{
		LocalHits: t.localHits.Load(), Hits: t.hits.Load(), Misses: t.misses.Load(), Stale: t.stale.Load(), Loads: t.loads.Load(),
		LoadErrors: t.loadErrors.Load(), Refreshes: t.refreshes.Load(), Errors: t.errors.Load(), Unreadable: t.unreadable.Load(), Evictions: t.evictions.Load(),
	})
	return out
}

// maxPrefixes bounds how many prefixes are counted separately; the rest counts as "other".
const maxPrefixes = 64

type counters struct {
	mu       sync.RWMutex
	prefixes map[string]*prefixCounters // guarded by mu
}

func (c *counters) forPrefixOf(key string) *prefixCounters {
	prefix, _, _ := strings.Cut(key, ":")
	c.mu.RLock()
	t := c.prefixes[prefix]
	c.mu.RUnlock()
	if t != nil {
		return t
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.prefixes[prefix]; !known && len(c.prefixes) >= maxPrefixes {
		prefix = "other"
	}
	if c.prefixes[prefix] == nil {
		c.prefixes[strings.Clone(prefix)] = &prefixCounters{}
	}
	return c.prefixes[prefix]
}

// Stats returns what has happened so far.
func (m *Manager) Stats() Stats {
	out := Stats{Prefixes: make(map[string]Total)}
	m.counters.mu.RLock()
	defer m.counters.mu.RUnlock()
	for prefix, t := range m.counters.prefixes {
		one := t.snapshot()
		out.Prefixes[prefix] = one
		out.addCounts(one)
	}
	if m.local != nil {
		out.LocalBytes = m.local.entries.WeightedSize()
	}
	return out
}
