package auth_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

func TestATokenBuysASession(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	var accounts []string
	var told []string
	server, client := serve(t, store, auth.Config{
		Tokens: tokens(t, auth.TokenConfig{Secret: secret}), Gate: auth.NewLockout(rdb, auth.LockoutConfig{}), SessionTTL: time.Minute,
		Spend: func(_ context.Context, what auth.Charge, account string, h http.Header) error {
			require.Equal(t, auth.ChargeLogin, what)
			accounts = append(accounts, account)
			h.Add("RateLimit", "told")
			if account == "greedy" {
				return fault.ErrRateLimited.With("retryAfterMs", int64(1500))
			}
			return nil
		},
		Failed: func(_ string, err error) { told = append(told, err.Error()) },
	})
	login := func(body string) (*http.Response, map[string]any) {
		return do(t, client, server.URL+"/auth/login", "application/json", body)
	}
	token := func(changes object) string {
		return `{"token":"` + sign(t, jose.HS256, secret, "", good(changes)) + `"}`
	}

	resp, out := login(token(nil))
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	require.Equal(t, map[string]any{"userId": "u7", "username": "Ann", "characterId": "c7", "roles": []any{"player"}}, out["user"])
	id := out["sessionId"].(string)
	require.Equal(t, "sid="+id+"; Path=/; HttpOnly; Secure; SameSite=Lax", resp.Header.Get("Set-Cookie"))
	require.Equal(t, "told", resp.Header.Get("RateLimit"))
	require.Equal(t, []string{"u7"}, accounts)
	s, err := store.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", s.Metadata.IPAddress)

	for name, c := range map[string]struct {
		body, code, field string
		status            int
	}{
		"a guest":         {`{"username":"ann"}`, "INVALID", "token", 400},
		"both":            {`{"username":"ann","token":"x"}`, "INVALID", "username", 400},
		"a number":        {`{"token":7}`, "INVALID", "token", 400},
		"nothing":         {`{}`, "INVALID", "token", 400},
		"no token":        {`{"token":"` + unsigned(`{"alg":"none"}`, `{"sub":"u9"}`, "") + `"}`, "UNAUTHENTICATED", "", 401},
		"a user with NUL": {token(object{"sub": "u\x00"}), "INVALID", "userId", 400},
		"too often":       {token(object{"sub": "greedy"}), "RATE_LIMITED", "", 429},
	} {
		resp, out = login(c.body)
		require.Equal(t, c.status, resp.StatusCode, name)
		require.Equal(t, c.code, out["code"], name)
		if c.field != "" {
			require.Equal(t, c.field, out["field"], name)
		}
		require.Empty(t, resp.Header.Get("Set-Cookie"), name)
	}
	require.Len(t, told, 1, "the log knows why: %v", told)

	expired := token(object{"exp": noon.Add(-time.Hour).Unix()})
	for range 5 {
		resp, _ = login(expired)
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	}
	resp, out = login(token(nil))
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode, "the account is locked, for a good token too")
	require.Equal(t, "user", out["scope"])
	require.Equal(t, "60", resp.Header.Get("Retry-After"))
	resp, _ = login(token(object{"sub": "u8"}))
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	for range 5 { // with the one before and these, ten from this address
		login(`{"token":"x"}`)
	}
	resp, out = login(token(object{"sub": "u8"}))
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	require.Equal(t, "ip", out["scope"])
}

func TestTokensThatCanNotBeJudged(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var told int
	gate := auth.NewLockout(rdb, auth.LockoutConfig{AccountFailures: 1, AddressFailures: 1})
	server, client := serve(t, sessions.New(rdb, sessions.Config{}), auth.Config{
		Tokens: tokens(t, auth.TokenConfig{JWKS: "http://127.0.0.1:1/"}), Gate: gate, Failed: func(string, error) { told++ },
	})
	p := newProvider(t)
	for range 3 {
		resp, out := do(t, client, server.URL+"/auth/login", "application/json", `{"token":"`+sign(t, jose.EdDSA, p.ed, "ed", good(nil))+`"}`)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "nobody is locked for it")
		require.Equal(t, "UNAVAILABLE", out["code"])
	}
	require.Equal(t, 3, told)
}

// The provider changes its key and then hangs: a token under the new key can not be judged. That is
// 503 within the time of a login, no 401 after 5 s, and no failure of the address or the user.
// Tokens under the old key go on, also when it is time to read the keys again.
func TestALoginWhileTheProviderHangs(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	before, after := newProvider(t), newProvider(t)
	var hangs atomic.Bool
	over := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() {
			select {
			case <-over:
			case <-r.Context().Done():
			}
			return
		}
		_, _ = w.Write(before.set(t))
	}))
	t.Cleanup(web.Close)
	t.Cleanup(func() { close(over) })
	var now atomic.Int64
	now.Store(noon.Unix())
	keySet, err := auth.NewTokens(auth.TokenConfig{JWKS: web.URL, Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	require.NoError(t, err)
	require.NoError(t, keySet.Load(t.Context()))
	server, client := serve(t, sessions.New(rdb, sessions.Config{}), auth.Config{
		Tokens: keySet, Gate: auth.NewLockout(rdb, auth.LockoutConfig{AccountFailures: 1, AddressFailures: 1}),
	})
	hangs.Store(true)
	now.Add(2 * 3600)
	claims := good(object{"exp": noon.Add(24 * time.Hour).Unix()})
	login := func(token string) int {
		began := time.Now()
		resp, _ := do(t, client, server.URL+"/auth/login", "application/json", `{"token":"`+token+`"}`)
		require.Less(t, time.Since(began), 4*time.Second, "the read itself may take 5 s")
		return resp.StatusCode
	}
	for range 3 {
		require.Equal(t, http.StatusServiceUnavailable, login(sign(t, jose.EdDSA, after.ed, "new", claims)))
		require.Equal(t, http.StatusCreated, login(sign(t, jose.EdDSA, before.ed, "ed", claims)))
	}
}

// Tokens that only claim a user's name neither lock that user nor spend the user's limits.
func TestForgedTokensDoNotDelayTheUser(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var charged []string
	addr := "192.0.2.1"
	server, client := serve(t, sessions.New(rdb, sessions.Config{}), auth.Config{
		Tokens: tokens(t, auth.TokenConfig{Secret: secret}), Gate: auth.NewLockout(rdb, auth.LockoutConfig{}),
		Spend: func(_ context.Context, what auth.Charge, userID string, _ http.Header) error {
			charged = append(charged, string(what)+" "+userID)
			return nil
		},
		Addr: func(*http.Request) string { return addr },
	})
	login := func(key []byte, user string) int {
		resp, _ := do(t, client, server.URL+"/auth/login", "application/json", `{"token":"`+sign(t, jose.HS256, key, "", good(object{"sub": user}))+`"}`)
		return resp.StatusCode
	}
	for i := range 30 {
		addr = fmt.Sprintf("198.51.100.%d", i/9+1) // below the ten of an address
		require.Equal(t, http.StatusUnauthorized, login([]byte(strings.Repeat("x", 32)), []string{"u7", "renewals:u7", "renewal:u7"}[i%3]))
	}
	require.Empty(t, charged)
	addr = "192.0.2.1"
	require.Equal(t, http.StatusCreated, login(secret, "u7"))
	require.Equal(t, []string{"login u7"}, charged)
	for range 10 {
		login([]byte(strings.Repeat("x", 32)), "u7")
	}
	require.Equal(t, http.StatusTooManyRequests, login(secret, "u7"), "the address is locked")
}

func TestRenew(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	server, client := serve(t, store, auth.Config{Dev: true})
	_, out := do(t, client, server.URL+"/auth/login", "application/json", `{"username":"ann"}`)
	old := out["sessionId"].(string)

	resp, _ := do(t, client, server.URL+"/auth/renew", "", "", "Origin: https://evil.example")
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	resp, out = do(t, client, server.URL+"/auth/renew", "", "") // by the cookie
	require.Equal(t, http.StatusOK, resp.StatusCode)
	fresh := out["sessionId"].(string)
	require.NotEqual(t, old, fresh)
	require.Equal(t, "ann", out["user"].(map[string]any)["userId"])
	require.True(t, strings.HasPrefix(resp.Header.Get("Set-Cookie"), "sid="+fresh+";"))
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	require.Zero(t, rdb.Exists(t.Context(), keys.Session(old)).Val())

	resp, out = do(t, &http.Client{}, server.URL+"/auth/renew", "", "", "Authorization: Bearer "+old)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, "UNAUTHENTICATED", out["code"])
	resp, _ = do(t, &http.Client{}, server.URL+"/auth/renew", "", "", "Authorization: Bearer "+fresh)
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// broken is a store whose Redis is away at the last step.
type broken struct{ *sessions.Store }

func (broken) Renew(context.Context, string) (sessions.Session, error) {
	return sessions.Session{}, errors.New("redis: connection refused")
}

func TestRenewWithoutRedis(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	server, client := serve(t, broken{store}, auth.Config{Dev: true})
	do(t, client, server.URL+"/auth/login", "application/json", `{"username":"ann"}`)
	resp, out := do(t, client, server.URL+"/auth/renew", "", "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, "UNAVAILABLE", out["code"])
}

// A renewal and a logout of one id at the same time, 150 rounds: whatever comes first, a logout
// that is answered 204 leaves no session of this login.
func TestLogoutBesideRenewal(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	server, _ := serve(t, store, auth.Config{Dev: true})
	post := func(path, id string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+id)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	answers := make(map[int]int) // of the renewals
	for round := range 150 {
		s, err := store.Create(t.Context(), "u7", "ann", nil, sessions.Options{})
		require.NoError(t, err)
		var renewed, loggedOut int
		var wg sync.WaitGroup
		wg.Go(func() { renewed = post("/auth/renew", s.ID) })
		wg.Go(func() {
			for range rand.IntN(6) { // so that the two meet at every step
				_, _ = store.Get(t.Context(), s.ID)
			}
			loggedOut = post("/auth/logout", s.ID)
		})
		wg.Wait()
		answers[renewed]++
		require.Equal(t, http.StatusNoContent, loggedOut, "round %d: the login lives, under one of two ids", round)
		left, err := rdb.Keys(t.Context(), keys.Session("*")).Result()
		require.NoError(t, err)
		require.Subset(t, []string{keys.RevocationLog}, left, "round %d: the renewal was answered %d", round, renewed)
	}
	require.NotZero(t, answers[http.StatusOK], "some logouts followed a renewal")
}

// A logout with an id that was renewed before ends the session that goes on under the new id.
func TestLogoutFollowsARenewedID(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	server, client := serve(t, store, auth.Config{Dev: true})
	old, err := store.Create(t.Context(), "u7", "ann", nil, sessions.Options{})
	require.NoError(t, err)
	next, err := store.Renew(t.Context(), old.ID)
	require.NoError(t, err)
	fresh, err := store.Renew(t.Context(), next.ID)
	require.NoError(t, err)
	resp, _ := do(t, client, server.URL+"/auth/logout", "", "", "Authorization: Bearer "+old.ID)
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	_, err = store.Get(t.Context(), fresh.ID)
	require.ErrorIs(t, err, sessions.ErrNotFound)

	for _, id := range []string{fresh.ID, next.ID, old.ID} {
		resp, _ = do(t, client, server.URL+"/auth/logout", "", "", "Authorization: Bearer "+id)
		require.Equal(t, http.StatusNoContent, resp.StatusCode, "the answer to the first logout was lost")
		ttl := rdb.PTTL(t.Context(), keys.RenewedSession(fresh.ID)).Val()
		require.True(t, ttl > 0 && ttl <= 2*time.Minute, ttl)
	}
	require.NoError(t, rdb.Del(t.Context(), keys.RenewedSession(fresh.ID)).Err(), "two minutes later")
	resp, _ = do(t, client, server.URL+"/auth/logout", "", "", "Authorization: Bearer "+fresh.ID)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	_, err = store.Renew(t.Context(), fresh.ID)
	require.ErrorIs(t, err, sessions.ErrNotFound, "an end is no renewal")
	published := rdb.XLen(t.Context(), keys.RevocationLog).Val()
	resp, _ = do(t, client, server.URL+"/auth/logout", "", "", "Authorization: Bearer never-there")
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, published, rdb.XLen(t.Context(), keys.RevocationLog).Val(), "a client without a session publishes nothing")
}

// The budget of a user's renewals is not that of the logins of another user, whose id looks like
// it.
func TestALoginIsNotTheRenewalOfAnother(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	var charged []string
	server, client := serve(t, store, auth.Config{
		Tokens: tokens(t, auth.TokenConfig{Secret: secret}),
		Spend: func(_ context.Context, what auth.Charge, userID string, _ http.Header) error {
			charged = append(charged, string(what)+" "+userID)
			return nil
		},
	})
	s, err := store.Create(t.Context(), "u7", "ann", nil, sessions.Options{})
	require.NoError(t, err)
	resp, _ := do(t, &http.Client{}, server.URL+"/auth/renew", "", "", "Authorization: Bearer "+s.ID)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	token := sign(t, jose.HS256, secret, "", good(map[string]any{"sub": "renewals:u7"}))
	resp, _ = do(t, client, server.URL+"/auth/login", "application/json", `{"token":"`+token+`"}`)
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	require.Equal(t, []string{"renewal u7", "login renewals:u7"}, charged)
}
