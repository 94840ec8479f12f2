package sessions_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

func TestReadsWhatExpressWrites(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	const cookie = `"cookie":{"originalMaxAge":60000,"expires":"2026-11-23T12:00:00.000Z","httpOnly":true,"path":"/"}`
	for name, c := range map[string]struct {
		text string
		want sessions.Session // its id and expiry are the test's; no user: there is no session
	}{
		"flat": {
			`{` + cookie + `,"userId":"u7","username":"ann","roles":["player","gm"],"characterId":"c1"}`,
			sessions.Session{UserID: "u7", Username: "ann", Roles: []string{"player", "gm"}, CharacterID: "c1", TTL: time.Minute},
		},
		"a user":             {`{` + cookie + `,"user":{"id":7,"name":"ann"}}`, sessions.Session{UserID: "7", Username: "ann", TTL: time.Minute}},
		"passport, an id":    {`{` + cookie + `,"passport":{"user":"u7"}}`, sessions.Session{UserID: "u7", Username: "u7", TTL: time.Minute}},
		"passport, a user":   {`{` + cookie + `,"passport":{"user":{"id":"u7","displayName":"Ann"}}}`, sessions.Session{UserID: "u7", Username: "Ann", TTL: time.Minute}},
		"no age":             {`{"cookie":{"originalMaxAge":null},"userId":"u7"}`, sessions.Session{UserID: "u7", Username: "u7", TTL: 24 * time.Hour}},
		"no cookie":          {`{"userId":"u7"}`, sessions.Session{UserID: "u7", Username: "u7", TTL: 24 * time.Hour}},
		"odd roles":          {`{"userId":"u7","roles":["a",7,null,"b\n"]}`, sessions.Session{UserID: "u7", Username: "u7", Roles: []string{"a"}, TTL: 24 * time.Hour}},
		"half a pair beside": {`{"userId":"u7","theme":"\ud83d"}`, sessions.Session{UserID: "u7", Username: "u7", TTL: 24 * time.Hour}},
		"half a pair":        {`{"userId":"u\ud83d"}`, sessions.Session{}},
		"nobody logged in":   {`{` + cookie + `}`, sessions.Session{}},
		"half a user":        {`{"userId":1.5}`, sessions.Session{}},
		"a user with NUL":    {`{"userId":"u\u0000"}`, sessions.Session{}},
		"a user in a list":   {`{"userId":["u7"]}`, sessions.Session{}},
		"a long user":        {`{"userId":"` + strings.Repeat("x", 129) + `"}`, sessions.Session{}},
		"two users":          {`{"userId":"u7","userId":"u8"}`, sessions.Session{}},
		"no object":          {`["u7"]`, sessions.Session{}},
		"no JSON":            {`userId=u7`, sessions.Session{}},
		"nested too deep":    {`{"userId":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, sessions.Session{}},
		"more than a MB":     {`{"userId":"u7","x":"` + strings.Repeat("x", 1<<20) + `"}`, sessions.Session{}},
		"a user named by {}": {`{"user":{"id":{}}}`, sessions.Session{}},
	} {
		sid := strings.NewReplacer(" ", "-", ",", "", "{}", "object").Replace(name)
		require.NoError(t, rdb.Set(t.Context(), "sess:"+sid, c.text, 30*time.Second).Err())
		got, err := store.Get(t.Context(), sessions.ExpressID(sid))
		if c.want.UserID == "" {
			require.ErrorIs(t, err, sessions.ErrNotFound, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, sessions.ExpressID(sid), got.ID)
		require.InDelta(t, 30, time.Until(got.ExpiresAt).Seconds(), 5)
		got.ID, got.ExpiresAt = "", time.Time{}
		require.Equal(t, c.want, got, name)
	}
	for _, id := range []string{"express:", "express:a:b", "express:express:x", "express:\x00", "express:" + strings.Repeat("x", 129)} {
		_, err := store.Get(t.Context(), id)
		require.ErrorIs(t, err, sessions.ErrNotFound, id)
	}
}

func TestAnExpressSessionLivesAndEnds(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	ctx := t.Context()
	make1 := func(sid string) sessions.Session {
		t.Helper()
		require.NoError(t, rdb.Set(ctx, "sess:"+sid, `{"cookie":{"originalMaxAge":60000},"userId":"ann"}`, 10*time.Second).Err())
		s, err := store.Get(ctx, sessions.ExpressID(sid))
		require.NoError(t, err)
		return s
	}
	onEnd, ends := end()
	s, other := make1("one"), make1("two")
	tracker.Open(s, sessions.Listener{Ended: onEnd})
	h := tracker.Open(other, sessions.Listener{Ended: onEnd})
	ttl := func(sid string) time.Duration { return rdb.PTTL(ctx, "sess:"+sid).Val() }
	require.Eventually(t, func() bool { return ttl("one") > 55*time.Second && ttl("two") > 55*time.Second }, soon, tick, "it slides to its maxAge")

	list, err := store.List(ctx, "ann")
	require.NoError(t, err)
	require.Len(t, list, 2)
	changed, err := store.UpdateCharacter(ctx, s.ID, "c9")
	require.NoError(t, err)
	require.Equal(t, "c9", changed.CharacterID)
	again, err := store.Get(ctx, s.ID)
	require.NoError(t, err)
	require.Equal(t, "c9", again.CharacterID, "remembered for the user: the session is not ours to write")
	_, err = store.Renew(ctx, s.ID)
	require.ErrorIs(t, err, sessions.ErrExpressSession)

	require.NoError(t, store.Destroy(ctx, s.ID, sessions.LoggedOut, "bye"))
	require.Equal(t, []string{s.ID, sessions.LoggedOut}, func() []string { r := told(t, ends); return []string{r.SessionID, r.Code} }())
	require.Zero(t, rdb.Exists(ctx, "sess:one").Val(), "logged out there too")
	_, err = store.Touch(ctx, s.ID)
	require.ErrorIs(t, err, sessions.ErrNotFound)

	// The site logs out: it deletes, and says so in its own words.
	require.NoError(t, rdb.Del(ctx, "sess:two").Err())
	require.NoError(t, rdb.Publish(ctx, keys.Revocations, `{"sessionId":"express:two","code":"LOGGED_OUT"}`).Err())
	require.Equal(t, other.ID, told(t, ends).SessionID)
	require.False(t, h.Alive())

	three := make1("three")
	tracker.Open(three, sessions.Listener{Ended: onEnd})
	n, err := store.DestroyUser(ctx, "ann", sessions.Revoked, "", "")
	require.NoError(t, err)
	require.LessOrEqual(t, n, 1)
	if n == 0 { // its first touch had not indexed it yet
		require.NoError(t, store.Destroy(ctx, three.ID, sessions.Revoked, ""))
	}
	require.Equal(t, three.ID, told(t, ends).SessionID)
	done, err := store.CleanupExpired(ctx)
	require.NoError(t, err)
	require.Zero(t, done.Expired)
}
