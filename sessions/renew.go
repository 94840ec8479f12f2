package sessions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

const (
	// maxCopiedFields bounds the hash that Renew copies, which includes the fields of other programs.
	maxCopiedFields = 256
	// renewalKnownFor is how long Redis knows under which id a renewed session goes on.
	renewalKnownFor = 10 * time.Minute
	// unusedCopyTTL is how long a copy lives whose renewal was cut off.
	unusedCopyTTL = 10 * time.Second
)

// RenewedReason is the reason of the Revocation of an id whose session goes on under a new one.
const RenewedReason = "The session goes on under a new id."

// ErrRenewed answers the later of two renewals of one id at the same time. It matches
// fault.ErrConflict. The session lives, under the id that the other renewal returned.
var ErrRenewed = fault.New(fault.ErrConflict.Code, "The session has a new id already.")

// Renew gives a living session a new id and returns it. The old id ends with REPLACED, and so do
// the sockets that use it. Call it when the rights of a user change: the old id, which somebody may
// have learned before (session fixation), is worth nothing afterwards, except that Destroy follows
// it for renewalKnownFor. Renewing counts as activity; the absolute lifetime stays. The error is
// ErrNotFound when the session does not live, ErrRenewed when another call renewed it at the same
// time, and ErrExpressSession for an id of ExpressID.
//
// The two ids are two keys, maybe on two servers, so Renew takes four round trips. It writes the
// copy under an id that nobody knows yet and indexes it, and then renew.lua ends the old session
// and notes the new id, in one step; on one server that step moves the session in the index too.
// That step decides: if the session was destroyed before, Renew deletes the copy too, and if it is
// destroyed later, Destroy finds the note. So a renewal never revives a session, and an end reaches
// the session under whichever id it has.
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
	args := []any{formatInt(min(left, unusedCopyTTL.Milliseconds()))}
	for field, value := range hash {
		args = append(args, field, value)
	}
	calls := []*redisx.Call{{Script: createScript, Keys: []string{keys.Session(fresh.ID)}, Args: args}}
	if !s.isSingleServer { // renew.lua does it there
		calls = append(calls, s.indexCall(fresh.UserID, fresh.ID, now, fresh.ExpiresAt))
	}
	redisx.RunScripts(ctx, s.rdb, calls...)
	// The index must list the copy before the old session goes: DestroyUser reads the index again.
	for _, c := range calls {
		if c.Err() != nil {
			s.deleteCopy(ctx, fresh)
			return Session{}, fmt.Errorf("renew session: %w", c.Err())
		}
	}
	if err := s.endOldID(ctx, id, fresh, now); err != nil {
		s.deleteCopy(ctx, fresh)
		return Session{}, fmt.Errorf("renew session: %w", err)
	}
	pipe := s.rdb.Pipeline()
	kept := pipe.PExpire(ctx, keys.Session(fresh.ID), time.Duration(left)*time.Millisecond)
	if !s.isSingleServer {
		pipe.ZRem(ctx, keys.UserSessions(fresh.UserID), id)
	}
	if _, _ = pipe.Exec(ctx); kept.Err() != nil { // an entry that stays in the index is harmless
		return Session{}, fmt.Errorf("renew session: %w", kept.Err())
	}
	return fresh, nil
}

// endOldID ends the id of a session that was copied to another id. The error is ErrNotFound when
// the session had ended before, and ErrRenewed when another call had renewed it.
func (s *Store) endOldID(ctx context.Context, oldID string, fresh Session, now time.Time) error {
	text, err := Revocation{SessionID: oldID, Code: Replaced, Reason: RenewedReason, At: s.now()}.encodeMessage()
	if err != nil {
		return err
	}
	call := &redisx.Call{
		Script: renewScript, Keys: []string{keys.Session(oldID), keys.RenewedSession(oldID)},
		Args: []any{keys.Revocations, string(text), fresh.ID, formatInt(renewalKnownFor.Milliseconds())},
	}
	if s.isSingleServer {
		call.Keys = append(call.Keys, keys.UserSessions(fresh.UserID))
		call.Args = append(append(call.Args, oldID), s.indexArgs(fresh.ID, now, fresh.ExpiresAt)...)
	}
	redisx.RunScriptsWith(ctx, s.rdb, func(pipe redis.Pipeliner) { s.queueLogEntry(ctx, pipe, string(text)) }, call)
	switch outcome, err := call.Int64(); {
	case err != nil:
		return err
	case outcome == 0:
		return ErrNotFound
	case outcome < 0:
		return ErrRenewed
	}
	return nil
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
