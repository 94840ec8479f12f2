package sessions

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// Config of a Store. The zero value works.
type Config struct {
	// TTL is how long a session lives without activity; 30 minutes when zero.
	TTL time.Duration
	// AbsoluteTTL is how long a session lives at most; 24 hours when zero, no limit when negative.
	AbsoluteTTL time.Duration
	// LogLength is about how many entries keys.RevocationLog keeps; 10,000 when zero.
	LogLength int64
	// AnnounceLua is Lua that sets announce, a function which the scripts that end sessions call with
	// the JSON of the Revocation; for a session that had expired, when CleanupExpired finds it. It
	// runs on one Redis server only, and must not fail. "" tells nobody.
	AnnounceLua string
	// Now is the clock; time.Now when nil. Absolute lifetimes are compared with it, so the clocks
	// of the nodes should agree. The expiry without activity is counted by Redis.
	Now func() time.Time
}

// readBatchLimits bound the batches in which sessions and bans are read, since handshakes come in
// storms.
var readBatchLimits = redisx.BatchLimits{MaxBatch: 64, MaxWaiting: 16384, MaxWorkers: 2, NextWorkerAt: 64, Timeout: 5 * time.Second}

// A Store keeps sessions in Redis. Any number of goroutines may use it.
type Store struct {
	rdb            redis.UniversalClient
	scripts        *redisx.ScriptBatcher
	reads          *redisx.Batcher[sessionRead]
	banReads       *redisx.Batcher[banRead]
	isSingleServer bool // one server holds all keys
	cfg            Config
	now            func() time.Time

	destroyScript, destroyExpressScript, removeExpiredScript *redisx.Script // with Config.AnnounceLua
}

// New returns a store. It does not talk to Redis yet.
func New(rdb redis.UniversalClient, cfg Config) *Store {
	if cfg.TTL <= 0 {
		cfg.TTL = 30 * time.Minute
	}
	cfg.TTL = min(cfg.TTL, maxTTL)
	if cfg.AbsoluteTTL == 0 {
		cfg.AbsoluteTTL = max(24*time.Hour, cfg.TTL)
	}
	if cfg.LogLength <= 0 {
		cfg.LogLength = 10_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Store{rdb: rdb, scripts: redisx.NewScriptBatcher(rdb), isSingleServer: redisx.IsSingleServer(rdb), cfg: cfg, now: cfg.Now}
	s.destroyScript = newAnnouncingScript(cfg.AnnounceLua, destroySource)
	s.destroyExpressScript = newAnnouncingScript(cfg.AnnounceLua, destroyExpressSource)
	s.removeExpiredScript = redisx.NewMergingScript(redisx.ScriptParts{
		Before: "local announce\n" + cfg.AnnounceLua, Each: removeExpiredSource, MaxMerged: maxExpiredAtOnce,
	})
	s.reads = redisx.NewBatcher(readBatchLimits, s.readSessions)
	s.banReads = redisx.NewBatcher(readBatchLimits, s.readBans)
	return s
}

// Create writes a new session and returns it. Its id is 32 random bytes in base64url. The error is
// an INVALID fault when an id or a role is not 1 to 128 bytes of printable UTF-8 without a space at
// either end, when there are more than 64 roles, or when a TTL is positive and less than a
// millisecond; any other error means that Redis did not store the session. The username is only
// shown: it is cleaned, never refused, and the user id where nothing is left of it.
func (s *Store) Create(ctx context.Context, userID, username string, roles []string, o Options) (Session, error) {
	if err := validateIDs(userID, o.CharacterID, roles); err != nil {
		return Session{}, err
	}
	for field, ttl := range map[string]time.Duration{"ttl": o.TTL, "absoluteTtl": o.AbsoluteTTL} {
		if 0 < ttl && ttl < time.Millisecond {
			return Session{}, fault.Invalid(field, "at least a millisecond")
		}
	}
	now := s.now().Round(time.Millisecond)
	out := Session{
		ID: randomID(), UserID: userID, Username: identity.DisplayName(username, userID), CharacterID: o.CharacterID, Roles: slices.Clone(roles),
		Metadata: o.Metadata.truncateValues(), CreatedAt: now, LastActivityAt: now, TTL: s.cfg.TTL,
	}
	if o.TTL > 0 {
		out.TTL = min(o.TTL, maxTTL)
	}
	absolute := o.AbsoluteTTL
	if absolute == 0 && s.cfg.AbsoluteTTL > 0 {
		absolute = max(s.cfg.AbsoluteTTL, out.TTL)
	}
	left := out.TTL
	if absolute > 0 {
		out.AbsoluteExpiresAt = now.Add(absolute)
		left = min(left, absolute)
	}
	out.ExpiresAt = now.Add(left)

	hash, err := out.encodeHash()
	if err != nil {
		return Session{}, fmt.Errorf("create session: %w", err)
	}
	calls := []*redisx.Call{
		{Script: createScript, Keys: []string{keys.Session(out.ID)}, Args: append([]any{formatInt(left.Milliseconds())}, hash...)},
		s.indexCall(out.UserID, out.ID, now, out.ExpiresAt),
	}
	redisx.RunScriptsWith(ctx, s.rdb, func(pipe redis.Pipeliner) {
		if out.CharacterID != "" {
			pipe.Set(ctx, keys.LastCharacter(userID), out.CharacterID, 0)
		}
		pipe.HIncrBy(ctx, keys.SessionCounts, countCreated, 1)
	}, calls...)
	// Only the session counts: the first touch repairs the index and the last character.
	made, err := calls[0].Int64()
	switch {
	case err != nil:
		return Session{}, fmt.Errorf("create session: %w", err)
	case made == 0:
		return Session{}, errors.New("create session: the id is taken")
	}
	return out, nil
}

// Get reads a session and does not slide it. It returns ErrNotFound when there is no such session,
// when it has ended, and when id does not have the form of an id (then without asking Redis).
func (s *Store) Get(ctx context.Context, id string) (Session, error) {
	if _, ok := cutExpressPrefix(id); ok {
		return s.getExpressSession(ctx, id)
	}
	if !ValidID(id) {
		return Session{}, ErrNotFound
	}
	read, err := s.reads.Do(ctx, sessionRead{id: id})
	if err != nil {
		return Session{}, fmt.Errorf("read session: %w", err)
	}
	return read.session, read.err
}

// A sessionRead asks for one session, and holds the answer.
type sessionRead struct {
	id      string
	session Session
	err     error
}

// readSessions reads many sessions in one round trip.
func (s *Store) readSessions(ctx context.Context, all []*sessionRead) {
	pipe := s.rdb.Pipeline()
	reads := make([]func() (Session, error), len(all))
	for i, r := range all {
		reads[i] = s.queueSessionRead(ctx, pipe, r.id)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, r := range all {
		r.session, r.err = reads[i]()
	}
}

// queueSessionRead queues the commands that read a session. Call the result after Exec.
func (s *Store) queueSessionRead(ctx context.Context, pipe redis.Pipeliner, id string) func() (Session, error) {
	if _, ok := cutExpressPrefix(id); ok {
		return s.queueExpressRead(ctx, pipe, id)
	}
	key := sessionKey(id)
	hash := pipe.HMGet(ctx, key, hashFields...)
	ttl := pipe.PTTL(ctx, key)
	return func() (Session, error) {
		err := errors.Join(hash.Err(), ttl.Err())
		switch {
		case isWrongType(hash.Err()):
			return Session{}, ErrNotFound
		case err != nil:
			return Session{}, fmt.Errorf("read session: %w", err)
		}
		if out, ok := s.decodeHash(id, hash.Val(), ttl.Val()); ok {
			return out, nil
		}
		return Session{}, ErrNotFound
	}
}

// indexCall is the call that adds a session to the index of its user.
func (s *Store) indexCall(userID, id string, now, expiry time.Time) *redisx.Call {
	return &redisx.Call{Script: indexScript, Keys: []string{keys.UserSessions(userID)}, Args: s.indexArgs(id, now, expiry)}
}

// indexArgs are the arguments of index.lua.
func (s *Store) indexArgs(id string, now, expiry time.Time) []any {
	keep := max(s.cfg.AbsoluteTTL, 24*time.Hour)
	return []any{id, formatInt(expiry.UnixMilli()), formatInt(now.Add(-keep).UnixMilli()), formatInt((expiry.Sub(now) + keep).Milliseconds())}
}

// indexLivingCall is indexCall for a session that may have ended meanwhile. On one server such a
// session stays out of the index, where it would be taken for one that expired.
func (s *Store) indexLivingCall(userID, id string, now, expiry time.Time) *redisx.Call {
	c := s.indexCall(userID, id, now, expiry)
	if s.isSingleServer {
		c.Keys = append(c.Keys, sessionKey(id))
	}
	return c
}

func randomID() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails, as its documentation says
	id := base64.RawURLEncoding.EncodeToString(b)
	if id[0] == '-' { // it would look like a flag on a command line
		id = "_" + id[1:]
	}
	return id
}

func validateIDs(userID, characterID string, roles []string) error {
	if err := identity.CheckID("userId", userID); err != nil {
		return err
	}
	if characterID != "" && !identity.IsID(characterID) {
		return fault.Invalid("characterId", identity.IDRule)
	}
	if len(roles) > 64 {
		return fault.Invalid("roles", "at most 64 entries")
	}
	for _, r := range roles {
		if !identity.IsID(r) {
			return fault.Invalid("roles", identity.IDRule)
		}
	}
	return nil
}
