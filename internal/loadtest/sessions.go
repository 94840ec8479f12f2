package loadtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// pipelineSize is the largest number of clients whose commands share a pipeline.
const pipelineSize = 500

// runInPipelines sends the commands that f adds for each client, in pipelines of pipelineSize
// clients, and returns the first error.
func (r *run) runInPipelines(ctx context.Context, clients []*client, f func(redis.Pipeliner, *client)) error {
	for len(clients) > 0 {
		n := min(pipelineSize, len(clients))
		if _, err := r.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, c := range clients[:n] {
				f(p, c)
			}
			return nil
		}); err != nil {
			return err
		}
		clients = clients[n:]
	}
	return nil
}

// openSessions creates a session for every client. It writes the session to Redis in the form that
// docs/contract.md describes, or logs in as a guest.
func (r *run) openSessions(ctx context.Context) error {
	if r.redis == nil {
		return forEachClient(ctx, r.clients, r.loginGuest)
	}
	now := time.Now()
	ttl := r.cfg.maxDuration() + 10*time.Minute // the sessions expire by themselves if this process is killed
	ms := func(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
	return r.runInPipelines(ctx, r.clients, func(p redis.Pipeliner, c *client) {
		var id [32]byte
		_, _ = rand.Read(id[:]) // Read never fails
		c.sessionID = base64.RawURLEncoding.EncodeToString(id[:])
		key, index := keys.Session(c.sessionID), keys.UserSessions(c.user)
		p.HSet(ctx, key, "userId", c.user, "username", c.user, "roles", "[]", "characterId", c.user, "metadata", "{}",
			"createdAt", ms(now), "lastActivityAt", ms(now), "absoluteExpiresAt", ms(now.Add(24*time.Hour+ttl)),
			"ttlMs", strconv.FormatInt(ttl.Milliseconds(), 10))
		p.PExpire(ctx, key, ttl)
		p.ZAdd(ctx, index, redis.Z{Score: float64(now.Add(ttl).UnixMilli()), Member: c.sessionID})
		p.PExpire(ctx, index, ttl)
	})
}

// loginGuest logs a guest in, which a server allows with --dev. After a 429 it waits as long as
// Retry-After says, at most 60 s, and tries again.
func (r *run) loginGuest(ctx context.Context, c *client) error {
	body, _ := json.Marshal(map[string]string{"username": c.user}) // encoding strings never fails
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.endpoint.baseURL+"/auth/login", bytes.NewReader(body))
		if err != nil {
			return fmt.Errorf("login: %w", err)
		}
		req.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			return fmt.Errorf("login: %w", err)
		}
		var session struct{ SessionID string }
		err = json.NewDecoder(io.LimitReader(answer.Body, 64<<10)).Decode(&session)
		_ = answer.Body.Close()
		switch {
		case answer.StatusCode == http.StatusTooManyRequests:
			seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
			if err := sleepContext(ctx, time.Duration(min(max(seconds, 1), 60))*time.Second); err != nil {
				return fmt.Errorf("login: %w", err)
			}
			continue
		case answer.StatusCode != http.StatusCreated:
			return fmt.Errorf("login: HTTP %d", answer.StatusCode)
		case err != nil || session.SessionID == "":
			return errors.New("login: no sessionId in the answer")
		}
		c.sessionID = session.SessionID
		return nil
	}
}

// closeSessions deletes what openSessions wrote, and closes the Redis client. If Redis cannot be
// reached, the sessions expire by themselves.
func (r *run) closeSessions() {
	if r.redis == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = r.runInPipelines(ctx, r.clients, func(p redis.Pipeliner, c *client) {
		p.Del(ctx, keys.Session(c.sessionID))
		p.Del(ctx, keys.UserSessions(c.user))
	})
	_ = r.redis.Close()
}
