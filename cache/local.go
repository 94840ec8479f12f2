package cache

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/aeturnis/realtime/keys"
)

// localCache is the L1. It serves entries for at most ttl after they were read from Redis, and for
// longer, as stale values, if neither Redis nor the source answers.
type localCache struct {
	entries      *otter.Cache[string, localEntry]
	ttl          time.Duration
	isSubscribed atomic.Bool // whether the changes of other nodes reach this one
	seed         maphash.Seed
	// generations count invalidations, by a hash of the key. forgetKey first increments the
	// generation, then removes the entry. storeReadEntry first stores the entry, then checks that the
	// generation has not changed since before the read from Redis. So no old value stays.
	generations [256]atomic.Uint64
}

// A localEntry is an entry, and until when it may be served as fresh.
type localEntry struct {
	*entry
	until time.Time
}

// entryOverhead is roughly what an entry takes besides its key and value, in bytes.
const entryOverhead = 200

func newLocalCache(cfg Local, c *counters) *localCache {
	l := &localCache{ttl: cfg.TTL, seed: maphash.MakeSeed()}
	l.entries = otter.Must(&otter.Options[string, localEntry]{
		MaximumWeight: cfg.Bytes,
		Weigher: func(key string, k localEntry) uint32 {
			n := entryOverhead + len(key) + len(k.data)
			for tag, version := range k.tags {
				n += len(tag) + len(version) + entryOverhead/4
			}
			return uint32(n)
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, localEntry]) time.Duration {
			return min(max(time.Until(e.Value.expires), time.Millisecond), time.Hour)
		}),
		OnDeletion: func(e otter.DeletionEvent[string, localEntry]) {
			if e.Cause == otter.CauseOverflow {
				c.forPrefixOf(e.Key).evictions.Add(1)
			}
		},
		Logger: &otter.NoopLogger{},
	})
	return l
}

// A readMark is the generation of a key before a read from Redis.
type readMark struct {
	shard      *atomic.Uint64
	generation uint64
}

func (l *localCache) markReadStart(key string) readMark {
	shard := &l.generations[maphash.String(l.seed, key)%uint64(len(l.generations))]
	return readMark{shard, shard.Load()}
}

// storeReadEntry stores what was read since the mark, unless the key has been invalidated
// meanwhile.
func (l *localCache) storeReadEntry(key string, e *entry, since readMark) {
	if !l.isSubscribed.Load() {
		return
	}
	now := time.Now()
	until := now.Add(l.ttl)
	if e.expires.Before(until) {
		until = e.expires
	}
	l.entries.Set(key, localEntry{e, until})
	if since.shard.Load() != since.generation {
		l.entries.Invalidate(key)
	}
}

func (l *localCache) forgetKey(key string) {
	l.markReadStart(key).shard.Add(1)
	l.entries.Invalidate(key)
}

// forgetAllKeys empties the cache when messages of other nodes may have been missed.
func (l *localCache) forgetAllKeys() {
	for i := range l.generations {
		l.generations[i].Add(1)
	}
	l.entries.InvalidateAll()
}

// freshEntry returns the entry that may be served, or nil.
func (l *localCache) freshEntry(key string) *entry {
	k, ok := l.entries.GetIfPresent(key)
	if !ok || !time.Now().Before(k.until) {
		return nil
	}
	return k.entry
}

// staleEntry returns the entry, however long ago it was read, or nil once it has expired in Redis.
func (l *localCache) staleEntry(key string) *entry {
	k, ok := l.entries.GetIfPresent(key)
	if !ok || !time.Now().Before(k.expires) {
		return nil
	}
	return k.entry
}

// tagVersion returns the version of a tag, if it is known.
func (l *localCache) tagVersion(tag string) (string, bool) {
	e := l.freshEntry(keys.CacheTag(tag))
	if e == nil {
		return "", false
	}
	return string(e.data), true
}

// hasCurrentTags tells whether the tags of the entry are known to have their old versions.
func (l *localCache) hasCurrentTags(e *entry) bool {
	for tag, version := range e.tags {
		if now, ok := l.tagVersion(tag); !ok || now != version {
			return false
		}
	}
	return true
}
