package cache

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// Get returns the value under key; ok is false when there is none. Errors: ErrKey; ErrValue
// when what is stored is no T; and what kept Redis from answering, which a caller with another
// source may take for a miss.
func Get[T any](ctx context.Context, m *Manager, key string) (v T, ok bool, err error) {
	e, err := m.get(ctx, key)
	if err != nil || e == nil {
		return v, false, err
	}
	return decode[T](m, key, e.data)
}

func (m *Manager) get(ctx context.Context, key string) (*entry, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if e := m.lookup(key); e != nil {
		return e, nil
	}
	e, err := m.fetch(ctx, key, nil)
	if err != nil {
		return nil, m.failed(ctx, "get", key, err)
	}
	if e == nil {
		m.counts.of(key).misses.Add(1)
		return nil, nil
	}
	m.counts.of(key).hits.Add(1)
	return e, nil
}

// lookup is L1's value, counted; nil when it has none that may be served.
func (m *Manager) lookup(key string) *entry {
	if m.local == nil {
		return nil
	}
	e := m.local.get(key)
	if e == nil || !m.local.valid(e) {
		return nil
	}
	m.counts.of(key).localHits.Add(1)
	return e
}

// Set stores a value for ttl (Config.TTL when it is 0, for ever when it is negative). Errors:
// ErrKey, ErrValue, ErrTooLarge, and of Redis: then it may be stored or not.
func (m *Manager) Set(ctx context.Context, key string, value any, ttl time.Duration) error {
	if err := checkKey(key); err != nil {
		return err
	}
	data, err := m.encode(key, value)
	if err != nil {
		return err
	}
	if _, err := m.write(ctx, key, "", data, m.life(ttl)); err != nil {
		return m.failed(ctx, "set", key, err)
	}
	return nil
}

// life is the TTL that Redis is told: 0 is for ever.
func (m *Manager) life(ttl time.Duration) time.Duration {
	switch {
	case ttl == 0:
		return m.cfg.TTL
	case ttl < 0:
		return 0
	}
	return max(ttl, time.Millisecond)
}

// Delete removes values, everywhere, and says how many there were. A load that is under way
// does not bring one back.
func (m *Manager) Delete(ctx context.Context, all ...string) (n int, err error) {
	for _, key := range all {
		if err := checkKey(key); err != nil {
			return 0, err
		}
	}
	if len(all) == 1 {
		existed, err := m.write(ctx, all[0], "", nil, 0)
		if err != nil {
			return 0, m.failed(ctx, "delete", all[0], err)
		}
		if existed {
			n = 1
		}
		return n, nil
	}
	var writes []write
	for _, key := range all {
		writes = append(writes, write{key: key})
	}
	return m.writeAll(ctx, "delete", writes)
}

// Exists tells whether there is a value; null and a value of invalidated tags are none. Of
// sets it tells too.
func (m *Manager) Exists(ctx context.Context, key string) (bool, error) {
	e, err := m.get(ctx, key)
	if redis.HasErrorPrefix(err, "WRONGTYPE") {
		return true, nil
	}
	return e != nil && !e.absent(), err
}

// Expire gives a value another life, from now; it returns whether there is one. A negative
// ttl is for ever.
func (m *Manager) Expire(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	if err := checkKey(key); err != nil {
		return false, err
	}
	bounded, cancel := m.bounded(ctx)
	defer cancel()
	pipe := m.rdb.Pipeline()
	there := pipe.Exists(bounded, key)
	if life := m.life(ttl); life == 0 {
		pipe.Persist(bounded, key)
	} else {
		pipe.PExpire(bounded, key, life)
	}
	_, err := pipe.Exec(bounded)
	m.forget(key)
	if err == nil {
		err = m.rdb.Publish(bounded, keys.CacheInvalidations, m.message(key)).Err()
	}
	if err != nil {
		return false, m.failed(ctx, "expire", key, err)
	}
	return there.Val() == 1, nil
}

// TTL is how long a value lives; -1 is for ever, and ok is false when there is none.
func (m *Manager) TTL(ctx context.Context, key string) (left time.Duration, ok bool, err error) {
	if err := checkKey(key); err != nil {
		return 0, false, err
	}
	bounded, cancel := m.bounded(ctx)
	defer cancel()
	left, err = m.rdb.PTTL(bounded, key).Result()
	switch {
	case err != nil:
		return 0, false, m.failed(ctx, "ttl", key, err)
	case left == -2:
		return 0, false, nil
	}
	return left, true, nil
}
