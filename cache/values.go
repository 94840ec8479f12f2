package cache

import (
	"context"
	"time"

	"github.com/aeturnis/realtime/keys"
)

// Get returns the value of a key; ok is false if there is none. A stored value that does not decode
// to T counts as none, and is reported.
//
// Errors: ErrKey; and the error of a Redis that does not answer, which a caller with another source
// may treat as a miss.
func Get[T any](ctx context.Context, m *Manager, key string) (v T, ok bool, err error) {
	e, err := m.getCachedEntry(ctx, key)
	if isWrongType(err) {
		m.reportUnreadable(key)
		return v, false, nil
	}
	if err != nil || e == nil {
		return v, false, err
	}
	if v, ok, err = decodeValue[T](m, key, e.data); err != nil {
		m.reportUnreadable(key)
	}
	return v, ok, nil
}

func (m *Manager) getCachedEntry(ctx context.Context, key string) (*entry, error) {
	if err := validateKey(key); err != nil {
		return nil, err
	}
	if e := m.lookupLocal(key); e != nil {
		return e, nil
	}
	e, err := m.fetchEntry(ctx, key)
	if isWrongType(err) {
		return nil, err
	}
	if err != nil {
		return nil, m.reportFailure(ctx, "get", key, err)
	}
	if e == nil {
		m.counters.forPrefixOf(key).misses.Add(1)
		return nil, nil
	}
	m.counters.forPrefixOf(key).hits.Add(1)
	return e, nil
}

// lookupLocal returns the value in L1, and counts the hit; nil if there is none that may be served.
func (m *Manager) lookupLocal(key string) *entry {
	if m.local == nil {
		return nil
	}
	e := m.local.freshEntry(key)
	if e == nil || !m.local.hasCurrentTags(e) {
		return nil
	}
	m.counters.forPrefixOf(key).localHits.Add(1)
	return e
}

// Set stores a value for ttl: Config.TTL if it is 0, for ever if it is negative.
//
// Errors: ErrKey, ErrValue, ErrTooLarge; and the error of a Redis that does not answer, after which
// the value may be stored or not.
func (m *Manager) Set(ctx context.Context, key string, value any, ttl time.Duration) error {
	if err := validateKey(key); err != nil {
		return err
	}
	data, err := m.encodeValue(key, value)
	if err != nil {
		return err
	}
	if _, err := m.writeValue(ctx, key, "", data, m.ttlInRedis(ttl)); err != nil {
		return m.reportFailure(ctx, "set", key, err)
	}
	return nil
}

// ttlInRedis returns the TTL for Redis; 0 means for ever.
func (m *Manager) ttlInRedis(ttl time.Duration) time.Duration {
	switch {
	case ttl == 0:
		return m.cfg.TTL
	case ttl < 0:
		return 0
	}
	return max(ttl, time.Millisecond)
}

// Delete removes values on every node, and returns how many there were. A load that is in progress
// does not store its result.
func (m *Manager) Delete(ctx context.Context, all ...string) (n int, err error) {
	for _, key := range all {
		if err := validateKey(key); err != nil {
			return 0, err
		}
	}
	if len(all) == 1 {
		existed, err := m.writeValue(ctx, all[0], "", nil, 0)
		if err != nil {
			return 0, m.reportFailure(ctx, "delete", all[0], err)
		}
		if existed {
			n = 1
		}
		return n, nil
	}
	var changes []keyChange
	for _, key := range all {
		changes = append(changes, keyChange{key: key})
	}
	return m.applyChanges(ctx, "delete", changes)
}

// Exists tells whether there is a value. A stored null, and a value whose tags were invalidated,
// count as none. Exists also works for sets.
func (m *Manager) Exists(ctx context.Context, key string) (bool, error) {
	e, err := m.getCachedEntry(ctx, key)
	if isWrongType(err) {
		return true, nil
	}
	return e != nil && !e.isAbsentValue(), err
}

// Expire gives a value a new TTL, from now, and tells whether there is a value. A negative ttl
// means for ever.
func (m *Manager) Expire(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	if err := validateKey(key); err != nil {
		return false, err
	}
	bounded, cancel := m.contextWithBudget(ctx)
	defer cancel()
	pipe := m.rdb.Pipeline()
	there := pipe.Exists(bounded, key)
	if life := m.ttlInRedis(ttl); life == 0 {
		pipe.Persist(bounded, key)
	} else {
		pipe.PExpire(bounded, key, life)
	}
	_, err := pipe.Exec(bounded)
	m.forgetLocal(key)
	if err == nil {
		err = m.rdb.Publish(bounded, keys.CacheInvalidations, m.changeMessage(key)).Err()
	}
	if err != nil {
		return false, m.reportFailure(ctx, "expire", key, err)
	}
	return there.Val() == 1, nil
}

// TTL returns how long a value will live; -1 means for ever. ok is false if there is no value.
func (m *Manager) TTL(ctx context.Context, key string) (left time.Duration, ok bool, err error) {
	if err := validateKey(key); err != nil {
		return 0, false, err
	}
	bounded, cancel := m.contextWithBudget(ctx)
	defer cancel()
	left, err = m.rdb.PTTL(bounded, key).Result()
	switch {
	case err != nil:
		return 0, false, m.reportFailure(ctx, "ttl", key, err)
	case left == -2:
		return 0, false, nil
	}
	return left, true, nil
}
