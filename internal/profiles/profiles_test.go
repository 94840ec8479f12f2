package profiles_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/profiles"
)

func TestDemoComesFromTheID(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	one, two := profiles.NewDemo(), profiles.NewDemo()
	_, err := one.User(ctx, "ann"+profiles.AltSuffix)
	require.ErrorIs(t, err, profiles.ErrNotFound, "a character's id")
	for _, id := range []string{"ann", "bob", "x-1_Y", "auth0|7", "ann bob", "漢字"} {
		u, err := one.User(ctx, id)
		require.NoError(t, err)
		again, err := two.User(ctx, id)
		require.NoError(t, err)
		require.Equal(t, u, again)
		require.Equal(t, id, u.UserID)
		require.Len(t, u.Characters, 2)
		for _, c := range u.Characters {
			hero, err := one.Character(ctx, c)
			require.NoError(t, err)
			require.Equal(t, id, hero.OwnerID)
			require.NoError(t, hero.Validate())
			same, err := two.Character(ctx, c)
			require.NoError(t, err)
			require.Equal(t, hero, same)
		}
	}
	for _, id := range []string{"", "nobody", "nobody-7", "ann-alt-alt", "a ", "a/b", "../x", "..", "%2e%2e", "a?b", "a#b", `a\b`, strings.Repeat("x", 129)} {
		_, err := one.User(ctx, id)
		require.ErrorIs(t, err, profiles.ErrNotFound, id)
		_, err = one.Character(ctx, id)
		require.ErrorIs(t, err, fault.ErrNotFound, id)
	}
}

func TestDemoKeepsWhatIsSaved(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	d := profiles.NewDemo()
	c, err := d.Character(ctx, "ann")
	require.NoError(t, err)
	c.Name, c.Stats.Attack = "Ann the Bold", 30
	require.NoError(t, d.SaveCharacter(ctx, c))
	got, err := d.Character(ctx, "ann")
	require.NoError(t, err)
	require.Equal(t, c, got)
}

func TestCharactersThatCanNotBe(t *testing.T) {
	t.Parallel()
	good, err := profiles.NewDemo().Character(t.Context(), "ann")
	require.NoError(t, err)
	for field, spoil := range map[string]func(*profiles.Character){
		"characterId":     func(c *profiles.Character) { c.CharacterID = "a/b" },
		"ownerId":         func(c *profiles.Character) { c.OwnerID = "" },
		"level":           func(c *profiles.Character) { c.Level = 0 },
		"stats.maxHp":     func(c *profiles.Character) { c.Stats.MaxHP = 0 },
		"stats.attack":    func(c *profiles.Character) { c.Stats.Attack = -1 },
		"stats.defense":   func(c *profiles.Character) { c.Stats.Defense = 1_000_001 },
		"stats.speed":     func(c *profiles.Character) { c.Stats.Speed = -1 },
		"stats.maxEnergy": func(c *profiles.Character) { c.Stats.MaxEnergy = -1 },
	} {
		c := good
		spoil(&c)
		err := c.Validate()
		require.ErrorIs(t, err, fault.ErrInvalid, field)
		require.Equal(t, field, fault.Of(err).Detail("field"))
		require.ErrorIs(t, profiles.NewDemo().SaveCharacter(t.Context(), c), fault.ErrInvalid)
	}
}

// Names are cleaned by the rule of all display names, whoever gives them, and refuse nothing.
func TestNamesOfProfilesAreCleaned(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("漢", 50) // 150 bytes
	for inJSON, want := range map[string]string{
		long: long, "": "hero", `  Ann \t Lee\u200b`: "Ann Lee", `\u3164`: "hero", strings.Repeat("é", 65): strings.Repeat("é", 64),
		`half \ud83d`: "half \ufffd",
	} {
		var stored atomic.Pointer[profiles.Character]
		u, _ := upstream(t, profiles.Config{}, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				var c profiles.Character
				_ = json.NewDecoder(r.Body).Decode(&c)
				stored.Store(&c)
				return
			}
			_, _ = w.Write([]byte(`{"characterId":"hero","userId":"hero","name":"` + inJSON + `","username":"` + inJSON + `","class":" mage "}`))
		})
		user, err := u.User(t.Context(), "hero")
		require.NoError(t, err)
		require.Equal(t, want, user.Username)
		c, err := u.Character(t.Context(), "hero")
		require.NoError(t, err)
		require.Equal(t, want, c.Name)
		require.Equal(t, "mage", c.Class)

		hero := profiles.Character{CharacterID: "hero", OwnerID: "ann", Level: 1, Stats: profiles.Stats{MaxHP: 1}}
		require.NoError(t, json.Unmarshal([]byte(`"`+inJSON+`"`), &hero.Name))
		require.NoError(t, u.SaveCharacter(t.Context(), hero))
		require.Equal(t, want, stored.Load().Name)
	}
}

// A user of any identity provider may have a profile, and a player leads us to no other path.
func TestIDsInPaths(t *testing.T) {
	t.Parallel()
	u, _ := upstream(t, profiles.Config{}, func(w http.ResponseWriter, r *http.Request) {
		id := strings.TrimPrefix(r.URL.Path, "/v1/users/")
		_ = json.NewEncoder(w).Encode(profiles.User{UserID: id})
	})
	for _, id := range []string{"ann", "auth0|7", "ann bob", "a@b.example", "a:b", "{a}", "漢字", strings.Repeat("x", 128)} {
		user, err := u.User(t.Context(), id)
		require.NoError(t, err, id)
		require.Equal(t, id, user.UserID)
	}
	for _, id := range []string{"", ".", "..", "a/b", "../characters/b", `..\b`, "%2e%2e%2fb", "a?b", "a#b", " a", "a\n", strings.Repeat("x", 129)} {
		_, err := u.User(t.Context(), id)
		require.ErrorIs(t, err, profiles.ErrNotFound, "%q", id)
	}
}

// upstream starts a profile service with the handler h, and counts its requests.
func upstream(t *testing.T, cfg profiles.Config, h http.HandlerFunc) (*profiles.Upstream, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := profiles.NewUpstream(s.URL+"/v1/", cfg)
	require.NoError(t, err)
	return u, &n
}

func TestUpstreamReadsAndWrites(t *testing.T) {
	t.Parallel()
	var stored atomic.Pointer[[]byte]
	u, n := upstream(t, profiles.Config{Token: "t0ken"}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t0ken" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		switch r.Method + " " + r.URL.Path {
		case "GET /v1/users/ann":
			_, _ = w.Write([]byte(`{"userId":"ann","username":"Ann","level":3,"createdAt":5,"unknown":true}`))
		case "PUT /v1/characters/hero":
			b, _ := io.ReadAll(r.Body)
			stored.Store(&b)
			w.WriteHeader(http.StatusNoContent)
		case "GET /v1/characters/hero":
			_, _ = w.Write(*stored.Load())
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	ctx := t.Context()
	user, err := u.User(ctx, "ann")
	require.NoError(t, err)
	require.Equal(t, profiles.User{UserID: "ann", Username: "Ann", Level: 3, Characters: []string{}, CreatedAt: 5}, user)

	hero := profiles.Character{CharacterID: "hero", OwnerID: "ann", Name: "H", Level: 1, Stats: profiles.Stats{MaxHP: 10}}
	require.NoError(t, u.SaveCharacter(ctx, hero))
	got, err := u.Character(ctx, "hero")
	require.NoError(t, err)
	require.Equal(t, hero, got)
	var wire map[string]any
	require.NoError(t, json.Unmarshal(*stored.Load(), &wire))
	require.Equal(t, map[string]any{"maxHp": 10.0, "maxEnergy": 0.0, "attack": 0.0, "defense": 0.0, "speed": 0.0}, wire["stats"])

	before := n.Load()
	_, err = u.User(ctx, "eve")
	require.ErrorIs(t, err, profiles.ErrNotFound)
	require.Equal(t, before+1, n.Load(), "a 404 is not tried again")
	_, err = u.User(ctx, "../secrets")
	require.ErrorIs(t, err, profiles.ErrNotFound)
	require.Equal(t, before+1, n.Load(), "such an id is not asked for")
}

func TestUpstreamTriesAgain(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	u, _ := upstream(t, profiles.Config{}, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte(`{"userId":"ann"}`))
	})
	user, err := u.User(t.Context(), "ann")
	require.NoError(t, err)
	require.Equal(t, "ann", user.UserID)
	require.Equal(t, int64(3), n.Load())
}

func TestUpstreamAnswersThatCanNotBeUsed(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	for name, h := range map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
		"not JSON":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"another id": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"userId":"eve"}`)) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"userId":"ann","username":"` + strings.Repeat("x", 70<<10) + `"}`))
		},
		"hangs": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, n := upstream(t, profiles.Config{Timeout: 100 * time.Millisecond, MaxTries: 2}, h)
			_, err := u.User(t.Context(), "ann")
			require.ErrorIs(t, err, fault.ErrUnavailable)
			require.Equal(t, "profiles", fault.Of(err).Detail("feature"))
			if name == "hangs" {
				require.LessOrEqual(t, n.Load(), int64(2))
			} else {
				require.Equal(t, int64(2), n.Load())
			}
		})
	}
}

func TestUpstreamBreaker(t *testing.T) {
	t.Parallel()
	var well atomic.Bool
	u, n := upstream(t, profiles.Config{MaxTries: 1, BreakerFailures: 3, BreakerDelay: 100 * time.Millisecond}, func(w http.ResponseWriter, _ *http.Request) {
		if !well.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(`{"userId":"ann"}`))
	})
	for range 3 {
		_, err := u.User(t.Context(), "ann")
		require.ErrorIs(t, err, fault.ErrUnavailable)
	}
	require.Equal(t, "open", u.BreakerState())
	asked := n.Load()
	_, err := u.User(t.Context(), "ann")
	require.ErrorIs(t, err, fault.ErrUnavailable)
	require.LessOrEqual(t, n.Load(), asked+1, "an open breaker lets only a probe through")
	well.Store(true)
	require.Eventually(t, func() bool {
		_, err := u.User(t.Context(), "ann")
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, "closed", u.BreakerState())
}

func TestUpstreamOfACallerWhoLeft(t *testing.T) {
	t.Parallel()
	u, _ := upstream(t, profiles.Config{BreakerFailures: 1}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := u.User(ctx, "ann")
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "closed", u.BreakerState(), "a caller who leaves does not count as a failure")
}

func TestUpstreamURLs(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "accounts", "ftp://x", "http://", "https://ann:hunter2@x", "http://x?y=1", "http://x#y", "http://\x7f"} {
		_, err := profiles.NewUpstream(bad, profiles.Config{})
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "hunter2")
	}
	require.True(t, errors.Is(profiles.ErrNotFound, fault.ErrNotFound))
}
