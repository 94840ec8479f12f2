package cache

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// batchSize bounds the commands of one pipeline.
const batchSize = 500

// MGet returns the values of those keys that have one. It needs one round trip for each 500 keys
// that L1 does not have, and a second one if values have tags; on a Cluster, to each node.
//
// Errors: those of Get. A value that does not decode to T is left out and reported.
func MGet[T any](ctx context.Context, m *Manager, all []string) (map[string]T, error) {
	out := make(map[string]T, len(all))
	add := func(key string, data []byte) {
		v, ok, err := decodeValue[T](m, key, data)
		if ok {
			out[key] = v
		}
		if err != nil {
			m.reportUnreadable(key)
		}
	}
	var ask []string
	for _, key := range all {
		if err := validateKey(key); err != nil {
			return nil, err
		}
		if e := m.lookupLocal(key); e == nil {
			ask = append(ask, key)
		} else {
			add(key, e.data)
		}
	}
	for part := range slices.Chunk(ask, batchSize) {
		found, err := m.fetchEntries(ctx, part)
		if err != nil {
			return nil, m.reportFailure(ctx, "get many", part[0], err)
		}
		for i, key := range part {
			if found[i] == nil {
				m.counters.forPrefixOf(key).misses.Add(1)
				continue
			}
			m.counters.forPrefixOf(key).hits.Add(1)
			add(key, found[i].data)
		}
	}
	return out, nil
}

// fetchEntries reads many keys from Redis; entries of missing keys are nil. It stores nothing in
// L1, because it does not ask for the TTLs.
func (m *Manager) fetchEntries(ctx context.Context, all []string) ([]*entry, error) {
	ctx, cancel := m.contextWithBudget(ctx)
	defer cancel()
	raw, err := m.readRawValues(ctx, all)
	if err != nil {
		return nil, err
	}
	out := make([]*entry, len(all))
	var tags []string
	for i, data := range raw {
		if data == nil || m.pendingDeletes.containsKey(all[i]) {
			continue
		}
		if out[i], err = openEnvelope(data); err != nil {
			m.reportUnreadable(all[i])
			out[i] = nil
			continue
		}
		for tag := range out[i].tags {
			tags = append(tags, tag)
		}
	}
	if len(tags) == 0 {
		return out, nil
	}
	slices.Sort(tags)
	pipe := m.rdb.Pipeline()
	reads := m.queueVersionReads(ctx, pipe, slices.Compact(tags))
	if pipe.Len() > 0 {
		_, _ = pipe.Exec(ctx) // each command carries its own error
	}
	for i, e := range out {
		if e == nil {
			continue
		}
		ok, err := m.hasCurrentTags(ctx, e, reads)
		if err != nil {
			return nil, err
		}
		if !ok {
			out[i] = nil
		}
	}
	return out, nil
}

// readRawValues uses MGET if one server has all keys, else a pipeline of GET.
func (m *Manager) readRawValues(ctx context.Context, all []string) ([][]byte, error) {
	out := make([][]byte, len(all))
	if !redisx.IsCluster(m.rdb) {
		values, err := m.rdb.MGet(ctx, all...).Result()
		if err != nil {
			return nil, err
		}
		for i, v := range values {
			if s, ok := v.(string); ok { // not a string for a missing key, or one of another type
				out[i] = []byte(s)
			}
		}
		return out, nil
	}
	pipe := m.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(all))
	for i, key := range all {
		cmds[i] = pipe.Get(ctx, key)
	}
	_, _ = pipe.Exec(ctx) // each command carries its own error
	for i, cmd := range cmds {
		data, err := cmd.Bytes()
		switch {
		case err == nil:
			out[i] = data
		case !errors.Is(err, redis.Nil) && !isWrongType(err):
			return nil, err
		}
	}
	return out, nil
}

// An Item is a value to store.
type Item struct {
	Key   string
	Value any
	TTL   time.Duration // as for Set
}

// MSet stores many values, each with its own TTL. It is not atomic: after an error of Redis, some
// values may be stored. After ErrKey, ErrValue or ErrTooLarge, none is.
func (m *Manager) MSet(ctx context.Context, items ...Item) error {
	changes := make([]keyChange, 0, len(items))
	for _, i := range items {
		if err := validateKey(i.Key); err != nil {
			return err
		}
		data, err := m.encodeValue(i.Key, i.Value)
		if err != nil {
			return err
		}
		changes = append(changes, keyChange{i.Key, data, m.ttlInRedis(i.TTL)})
	}
	_, err := m.applyChanges(ctx, "set many", changes)
	return err
}

// A keyChange stores one value; nil data removes it.
type keyChange struct {
	key  string
	data []byte
	ttl  time.Duration
}

// applyChanges makes many changes in batches, and returns how many it made.
func (m *Manager) applyChanges(ctx context.Context, doing string, all []keyChange) (n int, err error) {
	for part := range slices.Chunk(all, batchSize) {
		done, err := m.applyChangeBatch(ctx, part)
		for _, w := range part {
			m.forgetLocal(w.key) // also if the answer was lost: the value may be written
		}
		n += done
		if err != nil {
			return n, m.reportFailure(ctx, doing, part[0].key, err)
		}
	}
	return n, nil
}

// applyChangeBatch makes the changes of one pipeline.
func (m *Manager) applyChangeBatch(ctx context.Context, part []keyChange) (n int, err error) {
	ctx, cancel := m.contextWithBudget(ctx)
	defer cancel()
	calls := make([]*redisx.Call, len(part))
	for i, w := range part {
		calls[i] = &redisx.Call{Script: writeScript, Keys: writeScriptKeys(w.key), Args: m.writeScriptArgs(w.key, "", w.data, w.ttl)}
	}
	redisx.RunScripts(ctx, m.rdb, calls...)
	for _, c := range calls {
		done, e := c.Int()
		if e != nil {
			err = e
		}
		n += done
	}
	return n, err
}
