package sessions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// maxCopiedFields bounds the hash that Renew copies, which includes the fields of other programs.
const maxCopiedFields = 256

// Renew gives a living session a new id and returns it. The old id ends with REPLACED, and so do
// the sockets that use it. Call it when the rights of a user change: the old id, which somebody may
// have learned before (session fixation), is worth nothing afterwards. Renewing counts as activity;
// the absolute lifetime stays. The error is ErrNotFound when the session does not live, and
// ErrExpressSession for an id of ExpressID.
//
// The two ids are two keys, maybe on two servers, so Renew takes three round trips, and one more to
// tidy the index. It writes and indexes the copy under an id that nobody knows yet, and then
// deletes the old session. That deletion decides: if the session was destroyed meanwhile, Renew
// deletes the copy too. So a renewal never revives a session.
func (s *Store) Renew(ctx context.Context, id string) (Session, error) {
	if _, ok := cutExpressPrefix(id); ok {
		return Session{}, ErrExpressSession
	}
	if !ValidID(id) {
		return Session{}, ErrNotFound
	}
	old, hash, err := s.readWholeHash(ctx, id)
	if err != nil {
		return Session{}, err
	}
	now := s.now().Truncate(time.Millisecond)
	fresh := old
	fresh.ID, fresh.LastActivityAt = randomID(), now
	if until := now.Add(fresh.TTL); until.After(fresh.ExpiresAt) {
		fresh.ExpiresAt = until
	}
	if abs := fresh.AbsoluteExpiresAt; !abs.IsZero() && abs.Before(fresh.ExpiresAt) {
		fresh.ExpiresAt = abs
	}
	left := fresh.ExpiresAt.Sub(now).Milliseconds()
	if left <= 0 {
		return Session{}, ErrNotFound
	}
	hash["lastActivityAt"], hash["ttlMs"] = formatInt(now.UnixMilli()), formatInt(fresh.TTL.Milliseconds())
	args := []any{formatInt(left)}
	for field, value := range hash {
		args = append(args, field, value)
	}
	calls := []*redisx.Call{
		{Script: createScript, Keys: []string{keys.Session(fresh.ID)}, Args: args},
		s.indexCall(fresh.UserID, fresh.ID, now, fresh.ExpiresAt),
	}
	redisx.RunScripts(ctx, s.rdb, calls...)
	// The index must list the copy before the old session goes: DestroyUser reads the index again.
	for _, c := range calls {
		if c.Err() != nil {
			s.deleteCopy(ctx, fresh)
			return Session{}, fmt.Errorf("renew session: %w", c.Err())
		}
	}
	n, err := s.destroySessions(ctx, []string{id}, "", Replaced, "The session goes on under a new id.", "")
	if err == nil && n == 1 {
		return fresh, nil
	}
	s.deleteCopy(ctx, fresh)
	if err == nil {
		err = ErrNotFound
	}
	return Session{}, fmt.Errorf("renew session: %w", err)
}

// readWholeHash reads a living session, and its hash with the fields of other programs.
func (s *Store) readWholeHash(ctx context.Context, id string) (Session, map[string]string, error) {
	key := keys.Session(id)
	pipe := s.rdb.Pipeline()
	hash, ttl := pipe.HGetAll(ctx, key), pipe.PTTL(ctx, key)
	_, _ = pipe.Exec(ctx) // each command has its own error
	switch err := errors.Join(hash.Err(), ttl.Err()); {
	case isWrongType(hash.Err()):
		return Session{}, nil, ErrNotFound
	case err != nil:
		return Session{}, nil, fmt.Errorf("renew session: %w", err)
	}
	all := hash.Val()
	values := make([]any, len(hashFields))
	ours := make(map[string]string, len(hashFields))
	for i, f := range hashFields {
		if v, ok := all[f]; ok {
			values[i], ours[f] = v, v
		}
	}
	found, ok := s.decodeHash(id, values, ttl.Val())
	if !ok {
		return Session{}, nil, ErrNotFound
	}
	if len(all) > maxCopiedFields {
		return found, ours, nil
	}
	return found, all, nil
}

// deleteCopy deletes a copy whose id nobody knows. If that fails, the copy expires by itself.
func (s *Store) deleteCopy(ctx context.Context, copied Session) {
	_, _ = s.rdb.Pipelined(context.WithoutCancel(ctx), func(pipe redis.Pipeliner) error {
		pipe.Del(context.WithoutCancel(ctx), keys.Session(copied.ID))
		pipe.ZRem(context.WithoutCancel(ctx), keys.UserSessions(copied.UserID), copied.ID)
		return nil
	})
}
