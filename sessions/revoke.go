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

	"github.com/aeturnis/realtime/keys"
)

// Why a session ended, as the client is told in session:revoked.
const (
	Revoked   = "SESSION_REVOKED" // somebody else ended it
	Expired   = "SESSION_EXPIRED" // it ran out
	LoggedOut = "LOGGED_OUT"      // its user did
	Replaced  = "REPLACED"        // a newer session took its place
)

// A Revocation is the end of one session, or of all sessions of a user.
type Revocation struct {
	SessionID string // "": all of the user's
	UserID    string // "" when whoever told it did not say
	Code      string // one of the four above
	Reason    string // for people; may be empty
	At        time.Time
}

// message is how a revocation is written, on the channel and in the log.
type message struct {
	SessionID string         `json:"sessionId,omitzero"`
	UserID    string         `json:"userId,omitzero"`
	Code      string         `json:"code"`
	Reason    string         `json:"reason"`
	At        jsontext.Value `json:"at,omitzero"`
}

const (
	maxMessage = 4 << 10
	chunk      = 512 // commands that go into one pipeline
	maxRounds  = 16  // in which DestroyUser looks for sessions that came meanwhile
)

func (r Revocation) encode() ([]byte, error) {
	return json.Marshal(message{r.SessionID, r.UserID, r.Code, r.Reason, jsontext.Value(ms(r.At.UnixMilli()))},
		jsontext.AllowInvalidUTF8(true))
}

var errMessage = errors.New("not a revocation")

// parseRevocation reads what anybody may have published. Unknown members are left alone,
// an unknown code is SESSION_REVOKED and a time that makes no sense is none: an end that is
// told in a clumsy way is still an end.
func parseRevocation(raw string) (Revocation, error) {
	if len(raw) > maxMessage {
		return Revocation{}, errMessage
	}
	var m message
	if json.Unmarshal([]byte(raw), &m, jsontext.AllowInvalidUTF8(true)) != nil {
		return Revocation{}, errMessage
	}
	if m.SessionID == "" && m.UserID == "" || m.SessionID != "" && !known(m.SessionID) {
		return Revocation{}, errMessage
	}
	out := Revocation{SessionID: m.SessionID, UserID: m.UserID, Code: code(m.Code), Reason: cut(m.Reason), At: unixMs(string(m.At))}
	return out, nil
}

func code(c string) string {
	switch c {
	case Expired, LoggedOut, Replaced:
		return c
	}
	return Revoked
}

// Destroy ends a session: its key is deleted and the end published in one step, so that
// every node closes its sockets; the log gets the same message. After it returned, nothing
// brings the session back. code is one of the package's; anything else is SESSION_REVOKED. ErrNotFound
// when there was none; the end is told all the same, for sockets that outlived their session.
func (s *Store) Destroy(ctx context.Context, id, code, reason string) error {
	if !known(id) {
		return ErrNotFound
	}
	n, err := s.destroy(ctx, []string{id}, "", code, reason, countDestroyed)
	switch {
	case err != nil:
		return err
	case n == 0:
		return ErrNotFound
	}
	return nil
}

// DestroyUser ends all sessions of a user but exceptID ("" ends all), and returns how many
// it ended, also beside an error. A session that gets a new id meanwhile (Renew) is ended too. Sessions
// that another program made are found once they were used here.
func (s *Store) DestroyUser(ctx context.Context, userID, code, reason, exceptID string) (n int, err error) {
	tried := map[string]bool{exceptID: true}
	for range maxRounds {
		ids, err := s.rdb.ZRange(ctx, keys.UserSessions(userID), 0, -1).Result()
		if err != nil {
			return n, fmt.Errorf("sessions of user: %w", err)
		}
		doomed := ids[:0]
		for _, id := range ids {
			if !tried[id] && known(id) {
				tried[id] = true
				doomed = append(doomed, id)
			}
		}
		if len(doomed) == 0 {
			return n, nil
		}
		for part := range slices.Chunk(doomed, chunk) {
			k, err := s.destroy(ctx, part, userID, code, reason, countDestroyed)
			n += k
			if err != nil {
				return n, err
			}
		}
	}
	return n, errors.New("sessions of user: new ones keep coming")
}

// destroy ends sessions in one pipeline, and then drops them from their user's index and
// counts them under a field of keys.SessionCounts ("" counts nothing).
func (s *Store) destroy(ctx context.Context, ids []string, userID, why, reason, count string) (n int, err error) {
	rev := Revocation{Code: code(why), Reason: cut(reason), At: s.now()}
	calls := make([]call, len(ids))
	texts := make([]string, len(ids))
	for i, id := range ids {
		rev.SessionID = id
		text, err := rev.encode()
		if err != nil {
			return 0, fmt.Errorf("session destroy: %w", err)
		}
		texts[i] = string(text)
		calls[i] = destroyCall(id, texts[i])
	}
	run(ctx, s.rdb, calls, func(pipe redis.Pipeliner) {
		for _, text := range texts {
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: keys.RevocationLog, MaxLen: s.cfg.LogLength, Approx: true, Values: []any{"message", text}})
		}
	})
	pipe := s.rdb.Pipeline()
	for i := range calls {
		reply, e := calls[i].cmd.Slice()
		switch {
		case wrongType(e): // that is no session
			continue
		case e != nil:
			err = fmt.Errorf("session destroy: %w", e)
			continue
		}
		there, _ := reply[0].(int64)
		n += int(there)
		if owner, _ := reply[1].(string); owner != "" {
			pipe.ZRem(ctx, keys.UserSessions(owner), ids[i])
		} else if userID != "" {
			pipe.ZRem(ctx, keys.UserSessions(userID), ids[i])
		}
	}
	if n > 0 && count != "" {
		pipe.HIncrBy(ctx, keys.SessionCounts, count, int64(n))
	}
	if pipe.Len() > 0 {
		_, _ = pipe.Exec(ctx) // an entry that stays is harmless: whoever reads it looks for the session
	}
	return n, err
}
