package sessions_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// create creates a session of a user that no other test uses.
func create(t *testing.T, store *sessions.Store, o sessions.Options) sessions.Session {
	t.Helper()
	s, err := store.Create(t.Context(), "u-"+t.Name(), "ann", []string{"player"}, o)
	require.NoError(t, err)
	return s
}

func pttl(t *testing.T, rdb redis.UniversalClient, id string) time.Duration {
	t.Helper()
	d, err := rdb.PTTL(t.Context(), keys.Session(id)).Result()
	require.NoError(t, err)
	return d
}

func TestCreateWritesTheContract(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	now := time.UnixMilli(1_800_000_000_000)
	store := sessions.New(rdb, sessions.Config{Now: func() time.Time { return now }})
	s, err := store.Create(t.Context(), "u1", "ann", []string{"player", "gm"}, sessions.Options{
		TTL: time.Minute, CharacterID: "c1",
		Metadata: sessions.Metadata{IPAddress: "192.0.2.1", UserAgent: "x", DeviceInfo: map[string]string{"os": "linux"}},
	})
	require.NoError(t, err)
	require.Regexp(t, `^[A-Za-z0-9_-]{43}$`, s.ID)

	hash, err := rdb.HGetAll(t.Context(), "session:"+s.ID).Result()
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"userId": "u1", "username": "ann", "roles": `["player","gm"]`, "characterId": "c1",
		"metadata":  `{"ipAddress":"192.0.2.1","userAgent":"x","deviceInfo":{"os":"linux"}}`,
		"createdAt": "1800000000000", "lastActivityAt": "1800000000000", "absoluteExpiresAt": "1800086400000", "ttlMs": "60000",
	}, hash)
	require.InDelta(t, time.Minute, pttl(t, rdb, s.ID), float64(5*time.Second))
	score, err := rdb.ZScore(t.Context(), "user:u1:sessions", s.ID).Result()
	require.NoError(t, err)
	require.InDelta(t, 1_800_000_060_000, score, 0)
	require.Equal(t, "c1", rdb.Get(t.Context(), keys.LastCharacter("u1")).Val())
	require.Positive(t, rdb.PTTL(t.Context(), "user:u1:sessions").Val(), "an index that nobody uses goes away")

	got, err := store.Get(t.Context(), s.ID)
	require.NoError(t, err)
	require.WithinDuration(t, s.ExpiresAt, got.ExpiresAt, 5*time.Second)
	got.ExpiresAt = s.ExpiresAt
	require.Equal(t, s, got)
}

// A name is only shown: it is cleaned and never a reason to refuse a login, here and when it is
// read from what another program wrote.
func TestNamesAreCleaned(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	for given, want := range map[string]string{
		"می\u200cخواهم": "می\u200cخواهم", "Ann\u00a0Lee": "Ann Lee", strings.Repeat("漢", 50): strings.Repeat("漢", 50),
		"\u3164": "ann lee", "   ": "ann lee", "": "ann lee", "ann\ufe0f": "ann", "a\u034fnn": "ann", "a\xffnn": "ann",
	} {
		s, err := store.Create(t.Context(), "ann lee", given, nil, sessions.Options{})
		require.NoError(t, err, "%q", given)
		require.Equal(t, want, s.Username, "%q", given)
		require.NoError(t, rdb.HSet(t.Context(), keys.Session(s.ID), "username", given).Err())
		s, err = store.Get(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, want, s.Username, "%q", given)
	}
}

func TestASessionThatWouldBeGoneIsRefused(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	_, err := store.Create(t.Context(), "u", "ann", nil, sessions.Options{TTL: 1})
	require.ErrorIs(t, err, fault.ErrInvalid)
	_, err = store.Create(t.Context(), "u", "ann", nil, sessions.Options{AbsoluteTTL: 1})
	require.ErrorIs(t, err, fault.ErrInvalid)
}

func TestCreateRefusesIDs(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	for name, c := range map[string]struct {
		user, username, role, field string
	}{
		"no user":         {"", "ann", "r", "userId"},
		"long user":       {strings.Repeat("x", 129), "ann", "r", "userId"},
		"control":         {"a\x00b", "ann", "r", "userId"},
		"broken UTF-8":    {"a\xff", "ann", "r", "userId"},
		"a space before":  {" u", "ann", "r", "userId"},
		"a space behind":  {"u ", "ann", "r", "userId"},
		"an empty role":   {"u", "ann", "", "roles"},
		"newline in role": {"u", "ann", "a\nb", "roles"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := store.Create(t.Context(), c.user, c.username, []string{c.role}, sessions.Options{})
			require.ErrorIs(t, err, fault.ErrInvalid)
			require.Equal(t, c.field, fault.Of(err).Detail("field"))
		})
	}
}

func TestGetReadsWhatOtherProgramsMade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hash  []any
		check func(t *testing.T, s sessions.Session, err error)
	}{
		"only the user": {[]any{"userId", "u"}, func(t *testing.T, s sessions.Session, err error) {
			require.NoError(t, err)
			require.Equal(t, "u", s.UserID)
			require.Empty(t, s.CharacterID)
			require.True(t, s.AbsoluteExpiresAt.IsZero())
			require.InDelta(t, time.Minute, s.TTL, float64(5*time.Second), "its own expiry gives the TTL")
		}},
		"numbers that are none": {[]any{"userId", "u", "ttlMs", "soon", "absoluteExpiresAt", "NaN", "createdAt", "-1"}, func(t *testing.T, s sessions.Session, err error) {
			require.NoError(t, err)
			require.InDelta(t, time.Minute, s.TTL, float64(5*time.Second))
			require.True(t, s.AbsoluteExpiresAt.IsZero())
			require.True(t, s.CreatedAt.IsZero())
		}},
		"roles that are none":    {[]any{"userId", "u", "roles", "admin"}, func(t *testing.T, s sessions.Session, err error) { require.NoError(t, err); require.Empty(t, s.Roles) }},
		"metadata of other form": {[]any{"userId", "u", "metadata", `[1]`}, func(t *testing.T, _ sessions.Session, err error) { require.NoError(t, err) }},
		"a user that is no id": {[]any{"userId", " u"}, func(t *testing.T, _ sessions.Session, err error) {
			require.ErrorIs(t, err, sessions.ErrNotFound)
		}},
		"no user": {[]any{"username", "ann"}, func(t *testing.T, _ sessions.Session, err error) {
			require.ErrorIs(t, err, sessions.ErrNotFound)
		}},
		"absolute lifetime over": {[]any{"userId", "u", "absoluteExpiresAt", "1000"}, func(t *testing.T, _ sessions.Session, err error) {
			require.ErrorIs(t, err, sessions.ErrNotFound)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Client(t)
			require.NoError(t, rdb.HSet(t.Context(), keys.Session("s1"), c.hash...).Err())
			require.NoError(t, rdb.PExpire(t.Context(), keys.Session("s1"), time.Minute).Err())
			s, err := sessions.New(rdb, sessions.Config{}).Get(t.Context(), "s1")
			c.check(t, s, err)
		})
	}
}

func TestForeignSessionSlides(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{TTL: time.Hour})
	ctx, key := t.Context(), keys.Session("made-elsewhere")
	require.NoError(t, rdb.HSet(ctx, key, "userId", "u", "username", "ann").Err())
	require.NoError(t, rdb.PExpire(ctx, key, time.Minute).Err())
	_, err := store.Touch(ctx, "made-elsewhere")
	require.NoError(t, err)
	require.NoError(t, rdb.PExpire(ctx, key, time.Second).Err())
	until, err := store.Touch(ctx, "made-elsewhere")
	require.NoError(t, err)
	require.InDelta(t, time.Minute, time.Until(until), float64(5*time.Second))
	require.InDelta(t, time.Minute, pttl(t, rdb, "made-elsewhere"), float64(5*time.Second))

	require.NoError(t, rdb.HSet(ctx, keys.Session("forever"), "userId", "u").Err())
	_, err = store.Touch(ctx, "forever")
	require.NoError(t, err)
	require.InDelta(t, time.Hour, pttl(t, rdb, "forever"), float64(5*time.Second), "no session lives for ever")
}

func TestIDsOfOtherFormAreNeverLookedUp(t *testing.T) {
	t.Parallel()
	dead := redis.NewClient(&redis.Options{Dialer: func(context.Context, string, string) (net.Conn, error) {
		t.Error("Redis was asked")
		return nil, net.ErrClosed
	}})
	t.Cleanup(func() { _ = dead.Close() })
	store := sessions.New(dead, sessions.Config{})
	for name, id := range map[string]string{
		"empty": "", "colon": "a:b", "space": "a b", "NUL": "a\x00", "newline": "a\n", "star": "*", "accent": "é",
		"too long": strings.Repeat("a", 129), "a megabyte": strings.Repeat("a", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := store.Get(t.Context(), id)
			require.ErrorIs(t, err, sessions.ErrNotFound)
			_, err = store.Touch(t.Context(), id)
			require.ErrorIs(t, err, sessions.ErrNotFound)
			_, err = store.Extend(t.Context(), id, time.Minute)
			require.ErrorIs(t, err, sessions.ErrNotFound)
			_, err = store.UpdateCharacter(t.Context(), id, "c")
			require.ErrorIs(t, err, sessions.ErrNotFound)
			require.ErrorIs(t, store.Destroy(t.Context(), id, sessions.Revoked, ""), sessions.ErrNotFound)
		})
	}
	require.True(t, sessions.ValidID(strings.Repeat("a", 128)))
}

func TestTouchSlidesUpToTheAbsoluteLifetime(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	now := time.Now()
	store := sessions.New(rdb, sessions.Config{Now: func() time.Time { return now }})
	s := create(t, store, sessions.Options{TTL: time.Hour, AbsoluteTTL: 90 * time.Minute})

	require.NoError(t, rdb.PExpire(t.Context(), keys.Session(s.ID), time.Minute).Err())
	now = now.Add(20 * time.Minute)
	until, err := store.Touch(t.Context(), s.ID)
	require.NoError(t, err)
	require.WithinDuration(t, now.Add(time.Hour), until, time.Second)

	now = now.Add(30 * time.Minute)
	until, err = store.Touch(t.Context(), s.ID)
	require.NoError(t, err)
	require.WithinDuration(t, s.AbsoluteExpiresAt, until, time.Second)
	require.InDelta(t, 40*time.Minute, pttl(t, rdb, s.ID), float64(5*time.Second))

	got, err := store.Get(t.Context(), s.ID)
	require.NoError(t, err)
	require.WithinDuration(t, now, got.LastActivityAt, time.Second)

	until, err = store.Extend(t.Context(), s.ID, 10*time.Hour)
	require.NoError(t, err)
	require.WithinDuration(t, s.AbsoluteExpiresAt, until, time.Second, "Extend is capped too")

	now = now.Add(41 * time.Minute)
	_, err = store.Get(t.Context(), s.ID)
	require.ErrorIs(t, err, sessions.ErrNotFound)
	_, err = store.Touch(t.Context(), s.ID)
	require.ErrorIs(t, err, sessions.ErrNotFound)
	require.Zero(t, rdb.Exists(t.Context(), keys.Session(s.ID)).Val())
}

func TestTouchNeverShortens(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	s := create(t, store, sessions.Options{TTL: time.Minute})
	require.NoError(t, rdb.PExpire(t.Context(), keys.Session(s.ID), time.Hour).Err(), "an operator gave it an hour")
	_, err := store.Touch(t.Context(), s.ID)
	require.NoError(t, err)
	require.Greater(t, pttl(t, rdb, s.ID), 50*time.Minute)
}

func TestExtend(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	s := create(t, store, sessions.Options{})
	_, err := store.Extend(t.Context(), s.ID, 5*time.Minute)
	require.NoError(t, err)
	require.InDelta(t, 5*time.Minute, pttl(t, rdb, s.ID), float64(5*time.Second), "it may be shorter")
	got, err := store.Get(t.Context(), s.ID)
	require.NoError(t, err)
	require.Equal(t, 5*time.Minute, got.TTL)
	for _, ttl := range []time.Duration{0, -time.Second, time.Microsecond, 11 * 365 * 24 * time.Hour} {
		_, err = store.Extend(t.Context(), s.ID, ttl)
		require.ErrorIs(t, err, fault.ErrInvalid)
	}
}

func TestUpdateCharacter(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	s := create(t, store, sessions.Options{TTL: time.Hour})
	require.NoError(t, rdb.PExpire(t.Context(), keys.Session(s.ID), time.Minute).Err())
	got, err := store.UpdateCharacter(t.Context(), s.ID, "c9")
	require.NoError(t, err)
	require.Equal(t, "c9", got.CharacterID)
	require.Equal(t, s.UserID, got.UserID)
	require.LessOrEqual(t, pttl(t, rdb, s.ID), time.Minute, "an update does not slide by itself")
	require.WithinDuration(t, time.Now().Add(time.Minute), got.ExpiresAt, 5*time.Second)
	_, err = store.UpdateCharacter(t.Context(), s.ID, "")
	require.ErrorIs(t, err, fault.ErrInvalid)
}

func TestCharacterOf(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	now := time.Now()
	store := sessions.New(rdb, sessions.Config{Now: func() time.Time { return now }})
	_, err := store.CharacterOf(t.Context(), "u")
	require.ErrorIs(t, err, sessions.ErrNotFound)

	old, err := store.Create(t.Context(), "u", "ann", nil, sessions.Options{CharacterID: "old"})
	require.NoError(t, err)
	now = now.Add(time.Second)
	fresh, err := store.Create(t.Context(), "u", "ann", nil, sessions.Options{CharacterID: "new"})
	require.NoError(t, err)
	expect := func(want string) {
		t.Helper()
		c, err := store.CharacterOf(t.Context(), "u")
		require.NoError(t, err)
		require.Equal(t, want, c)
	}
	expect("new")
	_, err = store.UpdateCharacter(t.Context(), fresh.ID, "newer")
	require.NoError(t, err)
	expect("newer")
	require.NoError(t, store.Destroy(t.Context(), fresh.ID, sessions.LoggedOut, ""))
	expect("old")
	require.NoError(t, store.Destroy(t.Context(), old.ID, sessions.LoggedOut, ""))
	expect("newer")

	// The script leaves two cases to Go: sessions of the same moment, and very many sessions.
	for _, c := range []string{"one", "two"} {
		_, err := store.Create(t.Context(), "u", "ann", nil, sessions.Options{CharacterID: c})
		require.NoError(t, err)
	}
	twin, err := store.CharacterOf(t.Context(), "u")
	require.NoError(t, err)
	require.Contains(t, []string{"one", "two"}, twin)
	for i := range 20 {
		now = now.Add(time.Second)
		_, err := store.Create(t.Context(), "u", "ann", nil, sessions.Options{CharacterID: fmt.Sprint("c", i)})
		require.NoError(t, err)
	}
	expect("c19")
	require.NoError(t, rdb.Set(t.Context(), keys.UserSessions("v"), "no zset", 0).Err())
	_, err = store.CharacterOf(t.Context(), "v")
	require.Error(t, err)
	require.NotErrorIs(t, err, sessions.ErrNotFound)
}

func TestListAndStats(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	now := time.Now()
	store := sessions.New(rdb, sessions.Config{Now: func() time.Time { return now }})
	var ids []string
	for range 3 {
		s, err := store.Create(t.Context(), "u", "ann", nil, sessions.Options{})
		require.NoError(t, err)
		ids = append(ids, s.ID)
		now = now.Add(time.Second)
	}
	_, err := store.Create(t.Context(), "v", "bob", nil, sessions.Options{})
	require.NoError(t, err)
	require.NoError(t, rdb.Del(t.Context(), keys.Session(ids[1])).Err(), "another program deletes one")
	require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.RevocationLog, Values: []any{"message", "{}"}}).Err())

	list, err := store.List(t.Context(), "u")
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, []string{ids[2], ids[0]}, []string{list[0].ID, list[1].ID}, "newest first")

	stats, err := store.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, sessions.Stats{Active: 3, Users: 2, MaxPerUser: 2, Created: 4, Destroyed: 0}, stats)
}

func TestRedisFailureIsNotNotFound(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	store := sessions.New(server.Client(), sessions.Config{})
	s := create(t, store, sessions.Options{})
	server.Kill()
	ctx := t.Context()
	for name, op := range map[string]func() error{
		"create":      func() error { _, err := store.Create(ctx, "u", "ann", nil, sessions.Options{}); return err },
		"get":         func() error { _, err := store.Get(ctx, s.ID); return err },
		"touch":       func() error { _, err := store.Touch(ctx, s.ID); return err },
		"extend":      func() error { _, err := store.Extend(ctx, s.ID, time.Minute); return err },
		"update":      func() error { _, err := store.UpdateCharacter(ctx, s.ID, "c"); return err },
		"destroy":     func() error { return store.Destroy(ctx, s.ID, sessions.Revoked, "") },
		"destroyUser": func() error { _, err := store.DestroyUser(ctx, s.UserID, sessions.Revoked, "", ""); return err },
		"metadata":    func() error { _, err := store.UpdateMetadata(ctx, s.ID, sessions.Metadata{}); return err },
		"renew":       func() error { _, err := store.Renew(ctx, s.ID); return err },
		"cleanup":     func() error { _, err := store.CleanupExpired(ctx); return err },
		"list":        func() error { _, err := store.List(ctx, s.UserID); return err },
		"character":   func() error { _, err := store.CharacterOf(ctx, s.UserID); return err },
		"stats":       func() error { _, err := store.Stats(ctx); return err },
	} {
		t.Run(name, func(t *testing.T) {
			err := op()
			require.Error(t, err)
			require.NotErrorIs(t, err, sessions.ErrNotFound)
			require.Equal(t, "INTERNAL", fault.Of(err).Code, "not a fault of the caller")
			require.NotContains(t, err.Error(), s.ID)
		})
	}
}

func TestScriptsSurviveAFlush(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	store := sessions.New(server.Client(), sessions.Config{})
	s := create(t, store, sessions.Options{})
	server.Restart()
	_, err := store.Touch(t.Context(), s.ID)
	require.ErrorIs(t, err, sessions.ErrNotFound)
	s = create(t, store, sessions.Options{})
	_, err = store.Touch(t.Context(), s.ID)
	require.NoError(t, err)
}

func TestAKeyOfAnotherTypeIsNoSession(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	require.NoError(t, rdb.Set(t.Context(), keys.Session("text"), "x", 0).Err())
	_, err := store.Get(t.Context(), "text")
	require.ErrorIs(t, err, sessions.ErrNotFound)
	_, err = store.Touch(t.Context(), "text")
	require.ErrorIs(t, err, sessions.ErrNotFound)
	require.ErrorIs(t, store.Destroy(t.Context(), "text", sessions.Revoked, ""), sessions.ErrNotFound)
}
