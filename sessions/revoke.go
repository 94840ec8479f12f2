package sessions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// These codes say why a session ended. The client gets the code in session:revoked.
const (
	Revoked   = "SESSION_REVOKED" // somebody else ended it
	Expired   = "SESSION_EXPIRED" // its time is over
	LoggedOut = "LOGGED_OUT"      // its user ended it
	Replaced  = "REPLACED"        // a newer session took its place
	Banned    = "BANNED"          // its user may not log in for a while
)

// A Revocation says that one session, or all sessions of a user, have ended.
type Revocation struct {
	SessionID string // "": all sessions of the user
	UserID    string // "" when the publisher did not say
	Code      string // one of the five above
	Reason    string // for people; may be empty
	At        time.Time
}

// revocationMessage is the JSON of a revocation, on the channel and in the log.
type revocationMessage struct {
	SessionID string         `json:"sessionId,omitzero"`
	UserID    string         `json:"userId,omitzero"`
	Code      string         `json:"code"`
	Reason    string         `json:"reason"`
	At        jsontext.Value `json:"at,omitzero"`
}

const (
	maxMessageBytes  = 4 << 10
	pipelineSize     = 512 // commands of one pipeline, at most
	maxDestroyRounds = 16  // reads of the index by DestroyUser, which looks for new sessions
	// maxRenewalsFollowed is how many renewals of one session Destroy follows.
	maxRenewalsFollowed = 256
)

func (r Revocation) encodeMessage() ([]byte, error) {
	return json.Marshal(revocationMessage{r.SessionID, r.UserID, r.Code, r.Reason, jsontext.Value(formatInt(r.At.UnixMilli()))},
		jsontext.AllowInvalidUTF8(true))
}

var errNotRevocation = errors.New("not a revocation")

// parseRevocation reads a message that any program may have published. It ignores unknown members,
// takes an unknown code for SESSION_REVOKED, and leaves the time zero when it makes no sense: an
// end that is reported badly is still an end.
func parseRevocation(raw string) (Revocation, error) {
	if len(raw) > maxMessageBytes {
		return Revocation{}, errNotRevocation
	}
	var m revocationMessage
	if json.Unmarshal([]byte(raw), &m, jsontext.AllowInvalidUTF8(true)) != nil {
		return Revocation{}, errNotRevocation
	}
	if m.SessionID == "" && m.UserID == "" || m.SessionID != "" && !isKnownID(m.SessionID) {
		return Revocation{}, errNotRevocation
	}
	out := Revocation{SessionID: m.SessionID, UserID: m.UserID, Code: normalizeCode(m.Code), Reason: truncateText(m.Reason), At: parseUnixMs(string(m.At))}
	return out, nil
}

func normalizeCode(c string) string {
	switch c {
	case Expired, LoggedOut, Replaced, Banned:
		return c
	}
	return Revoked
}

// Destroy ends a session. One script deletes the key and publishes the revocation, so that every
// node closes the sockets of the session; the revocation is appended to the log as well. Once
// Destroy has returned, nothing brings the session back. A session that was renewed goes on under
// another id for which Destroy looks, up to renewalKnownFor afterwards: then that one ends. code is
// one of the package's constants; anything else counts as SESSION_REVOKED. The error is ErrNotFound
// when there was no session under any of its ids; the revocation is published all the same, for
// sockets that outlived their session.
func (s *Store) Destroy(ctx context.Context, id, code, reason string) error {
	if !isKnownID(id) {
		return ErrNotFound
	}
	n, err := s.destroyWithSuccessors(ctx, []string{id}, map[string]bool{id: true}, "", code, reason)
	switch {
	case err != nil:
		return err
	case n == 0:
		return ErrNotFound
	}
	return nil
}

// endKnownFor is how long Redis knows that an id has ended. Within that time, ending it again is no
// error for DestroyRenewed.
const endKnownFor = 2 * time.Minute

// DestroyRenewed ends the session that goes on under a new id since Renew was called with oldID, at
// most renewalKnownFor ago. It does nothing, without an error, when the session ended under oldID
// within endKnownFor. The error is ErrNotFound in all other cases; then nothing is published.
func (s *Store) DestroyRenewed(ctx context.Context, oldID, code, reason string) error {
	if !ValidID(oldID) {
		return ErrNotFound
	}
	id, err := s.rdb.Get(ctx, keys.RenewedSession(oldID)).Result()
	switch {
	case errors.Is(err, redis.Nil), isWrongType(err):
		return ErrNotFound
	case err != nil:
		return fmt.Errorf("destroy session: %w", err)
	case id == "":
		return nil
	}
	if err = s.Destroy(ctx, id, code, reason); errors.Is(err, ErrNotFound) && s.endedLately(ctx, id) {
		return nil
	}
	return err
}

// endedLately reports whether a session ended within endKnownFor, under id or one that it went on
// under.
func (s *Store) endedLately(ctx context.Context, id string) bool {
	for range maxRenewalsFollowed {
		successor, err := s.rdb.Get(ctx, keys.RenewedSession(id)).Result()
		if err != nil || successor == "" {
			return err == nil
		}
		id = successor
	}
	return false
}

// DestroyUser ends all sessions of a user except exceptID ("" excepts none). It returns how many it
// ended, beside an error too. A session that is renewed meanwhile is ended as well, even when its
// id was exceptID. A session that another program created is found once it has been touched here.
func (s *Store) DestroyUser(ctx context.Context, userID, code, reason, exceptID string) (n int, err error) {
	tried := map[string]bool{exceptID: true}
	for range maxDestroyRounds {
		ids, err := s.rdb.ZRange(ctx, keys.UserSessions(userID), 0, -1).Result()
		if err != nil {
			return n, fmt.Errorf("list sessions of user: %w", err)
		}
		toDestroy := untriedIDs(ids, tried)
		if len(toDestroy) == 0 {
			return n, nil
		}
		k, err := s.destroyWithSuccessors(ctx, toDestroy, tried, userID, code, reason)
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, errors.New("destroy sessions of user: new sessions keep appearing")
}

// untriedIDs returns the ids that are not in tried, and puts them there.
func untriedIDs(ids []string, tried map[string]bool) []string {
	var out []string
	for _, id := range ids {
		if !tried[id] && isKnownID(id) {
			tried[id] = true
			out = append(out, id)
		}
	}
	return out
}

// destroyWithSuccessors ends sessions, and those under which they go on after renewals. It adds the
// latter to tried, and leaves out those that are in it already.
func (s *Store) destroyWithSuccessors(ctx context.Context, ids []string, tried map[string]bool, userID, code, reason string) (n int, err error) {
	for range maxRenewalsFollowed {
		var successors []string
		for part := range slices.Chunk(ids, pipelineSize) {
			ended, next, err := s.destroySessions(ctx, part, userID, code, reason)
			n += ended
			if err != nil {
				return n, err
			}
			successors = append(successors, next...)
		}
		if ids = untriedIDs(successors, tried); len(ids) == 0 {
			return n, nil
		}
	}
	return n, errors.New("destroy session: it is renewed again and again")
}

// destroySessions ends sessions in one pipeline, then removes them from their user's index and
// counts them. successors are the ids under which some of them go on, because they were renewed.
func (s *Store) destroySessions(ctx context.Context, ids []string, userID, why, reason string) (n int, successors []string, err error) {
	rev := Revocation{Code: normalizeCode(why), Reason: truncateText(reason), At: s.now()}
	calls := make([]*redisx.Call, len(ids))
	texts := make([]string, len(ids))
	for i, id := range ids {
		rev.SessionID = id
		rev.UserID = s.ownerToAnnounce(ctx, id, userID)
		text, err := rev.encodeMessage()
		if err != nil {
			return 0, nil, fmt.Errorf("destroy session: %w", err)
		}
		texts[i] = string(text)
		calls[i] = s.destroyCall(id, texts[i])
	}
	redisx.RunScriptsWith(ctx, s.rdb, func(pipe redis.Pipeliner) {
		for _, text := range texts {
			s.queueLogEntry(ctx, pipe, text)
		}
	}, calls...)
	pipe := s.rdb.Pipeline()
	for i := range calls {
		reply, e := calls[i].Slice()
		switch {
		case isWrongType(e): // the key holds no session
			continue
		case e != nil:
			err = fmt.Errorf("destroy session: %w", e)
			continue
		}
		existed, _ := reply[0].(int64)
		n += int(existed)
		if owner, _ := reply[1].(string); owner != "" {
			pipe.ZRem(ctx, keys.UserSessions(owner), ids[i])
		} else if userID != "" {
			pipe.ZRem(ctx, keys.UserSessions(userID), ids[i])
		}
		if successor, _ := reply[2].(string); successor != "" {
			successors = append(successors, successor)
		}
	}
	if n > 0 {
		pipe.HIncrBy(ctx, keys.SessionCounts, countDestroyed, int64(n))
	}
	if pipe.Len() > 0 {
		_, _ = pipe.Exec(ctx) // an entry that stays is harmless: readers look for its session
	}
	return n, successors, err
}

// ownerToAnnounce returns the user of a session of express-session, whose script does not know it,
// when ends are announced. userID is the user if the caller knows it.
func (s *Store) ownerToAnnounce(ctx context.Context, id, userID string) string {
	if _, isExpress := cutExpressPrefix(id); !isExpress || s.cfg.AnnounceLua == "" {
		return ""
	}
	if userID != "" {
		return userID
	}
	session, err := s.getExpressSession(ctx, id)
	if err != nil {
		return ""
	}
	return session.UserID
}

// queueLogEntry queues the command that appends a revocation to the log.
func (s *Store) queueLogEntry(ctx context.Context, pipe redis.Pipeliner, text string) {
	pipe.XAdd(ctx, &redis.XAddArgs{Stream: keys.RevocationLog, MaxLen: s.cfg.LogLength, Approx: true, Values: []any{"message", text}})
}
