package sessions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// A Cleanup says what CleanupExpired did.
type Cleanup struct {
	Expired int // entries of users' indexes that were removed: their session had expired
	Indexed int // living sessions that were added to their user's index, which lacked them
	Bounded int // sessions without any expiry that were given the store's TTL
}

// CleanupExpired repairs what failures between the keys of a session left behind. Only List,
// DestroyUser and Stats need it, and only for sessions that nobody uses. It may run beside
// everything else and on several nodes at once, though one is enough. It scans the whole keyspace
// twice, so every few minutes is often. Beside an error it returns what it had done until then.
func (s *Store) CleanupExpired(ctx context.Context) (Cleanup, error) {
	var mu sync.Mutex
	var out Cleanup // guarded by mu
	err := s.scanKeys(ctx, keys.UserSessions("*"), "zset", func(page []string) error {
		n, err := s.removeExpiredEntries(ctx, page)
		mu.Lock()
		defer mu.Unlock()
		out.Expired += n
		return err
	})
	if err == nil {
		err = s.scanKeys(ctx, keys.Session("*"), "hash", func(page []string) error {
			indexed, bounded, err := s.repairSessions(ctx, page)
			mu.Lock()
			defer mu.Unlock()
			out.Indexed += indexed
			out.Bounded += bounded
			return err
		})
	}
	if out.Expired > 0 {
		err = errors.Join(err, s.rdb.HIncrBy(context.WithoutCancel(ctx), keys.SessionCounts, countExpired, int64(out.Expired)).Err())
	}
	if err != nil {
		return out, fmt.Errorf("clean up sessions: %w", err)
	}
	return out, nil
}

// removeExpiredEntries removes the index entries whose time is over and whose session is gone. A
// session that is gone never comes back, so what it finds here stays true.
func (s *Store) removeExpiredEntries(ctx context.Context, indexes []string) (n int, err error) {
	until := formatInt(s.now().UnixMilli())
	pipe := s.rdb.Pipeline()
	expired := make([]*redis.StringSliceCmd, len(indexes))
	for i, index := range indexes {
		expired[i] = pipe.ZRangeByScore(ctx, index, &redis.ZRangeBy{Min: "-inf", Max: until, Count: pipelineSize})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, err
	}
	type entry struct {
		index, id string
		exists    *redis.IntCmd
	}
	var entries []entry
	pipe = s.rdb.Pipeline()
	for i, index := range indexes {
		for _, id := range expired[i].Val() {
			entries = append(entries, entry{index, id, pipe.Exists(ctx, sessionKey(id))})
		}
	}
	if len(entries) == 0 {
		return 0, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, err
	}
	var calls []*redisx.Call
	for _, e := range entries {
		if e.exists.Val() == 0 {
			if _, isExpress := cutExpressPrefix(e.id); isExpress { // it may go on under a new id, which its own program gave it
				calls = append(calls, &redisx.Call{Script: s.removeExpiredScript, Keys: []string{e.index}, Args: []any{e.id, ""}})
				continue
			}
			user := strings.TrimSuffix(strings.TrimPrefix(e.index, userIndexPrefix), userIndexSuffix)
			text, err := Revocation{SessionID: e.id, UserID: user, Code: Expired, Reason: ranOut, At: s.now()}.encodeMessage()
			if err != nil {
				return 0, err
			}
			calls = append(calls, &redisx.Call{Script: s.removeExpiredScript, Keys: []string{e.index}, Args: []any{e.id, string(text)}})
		}
	}
	run := redisx.RunScripts
	if s.isSingleServer {
		run = redisx.RunMerged
	}
	var failed []error
	for part := range slices.Chunk(calls, pipelineSize) {
		run(ctx, s.rdb, part...)
		for _, c := range part {
			removed, err := c.Int()
			n += removed
			if err != nil {
				failed = append(failed, err)
			}
		}
		if len(failed) > 0 {
			return n, errors.Join(failed...)
		}
	}
	return n, nil
}

// maxExpiredAtOnce is how many expired sessions one command removes from their indexes and tells.
const maxExpiredAtOnce = 100

// userIndexPrefix and userIndexSuffix stand around the id of the user in the key of an index.
var userIndexPrefix, userIndexSuffix, _ = strings.Cut(keys.UserSessions("|"), "|")

// repairSessions gives an expiry to sessions without one, and indexes sessions that lack an entry.
func (s *Store) repairSessions(ctx context.Context, sessionKeys []string) (indexed, bounded int, err error) {
	users, err := s.readOwners(ctx, sessionKeys)
	if err != nil {
		return 0, 0, err
	}
	pipe := s.rdb.Pipeline()
	left := make([]*redis.DurationCmd, len(users))
	score := make([]*redis.FloatCmd, len(users))
	for i, key := range sessionKeys {
		left[i] = pipe.PTTL(ctx, key)
		score[i] = pipe.ZScore(ctx, keys.UserSessions(users[i]), strings.TrimPrefix(key, keys.Session("")))
	}
	_, _ = pipe.Exec(ctx) // a missing score is an error too
	now := s.now()
	var calls []*redisx.Call
	var endless []string
	for i, user := range users {
		id := strings.TrimPrefix(sessionKeys[i], keys.Session(""))
		if err := left[i].Err(); err != nil {
			return 0, 0, err
		}
		ttl := left[i].Val()
		if ttl == ttlNoKey || user == "" || !ValidID(id) {
			continue
		}
		if ttl < 0 {
			endless = append(endless, sessionKeys[i])
			ttl = s.cfg.TTL
		}
		if errors.Is(score[i].Err(), redis.Nil) {
			calls = append(calls, s.indexLivingCall(user, id, now, now.Add(ttl)))
		}
	}
	if len(calls)+len(endless) == 0 {
		return 0, 0, nil
	}
	var bounds []*redis.BoolCmd
	redisx.RunScriptsWith(ctx, s.rdb, func(pipe redis.Pipeliner) {
		for _, key := range endless { // NX, because a touch may have come first
			bounds = append(bounds, pipe.ExpireNX(ctx, key, max(time.Second, s.cfg.TTL)))
		}
	}, calls...)
	for _, c := range calls {
		if err = errors.Join(err, c.Err()); c.Err() == nil {
			indexed++
		}
	}
	for _, b := range bounds {
		if err = errors.Join(err, b.Err()); b.Val() {
			bounded++
		}
	}
	return indexed, bounded, err
}
