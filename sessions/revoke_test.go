package sessions_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

func TestDestroyDeletesAndSaysSo(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb := server.Client()
	store := sessions.New(rdb, sessions.Config{})
	s := create(t, store, sessions.Options{CharacterID: "c"})
	sub := rdb.Subscribe(t.Context(), "session:revocations")
	t.Cleanup(func() { _ = sub.Close() })
	_, err := sub.Receive(t.Context())
	require.NoError(t, err)

	before := time.Now().UnixMilli()
	require.NoError(t, store.Destroy(t.Context(), s.ID, sessions.LoggedOut, "bye"))
	require.Zero(t, rdb.Exists(t.Context(), keys.Session(s.ID)).Val())
	require.Zero(t, rdb.ZCard(t.Context(), keys.UserSessions(s.UserID)).Val())

	type message struct {
		SessionID, UserID, Code, Reason string
		At                              int64
	}
	check := func(text string, user string) {
		t.Helper()
		var m message
		require.NoError(t, json.Unmarshal([]byte(text), &m))
		require.InDelta(t, before, m.At, 5000)
		m.At = 0
		require.Equal(t, message{s.ID, user, "LOGGED_OUT", "bye", 0}, m)
	}
	told, err := sub.ReceiveMessage(t.Context())
	require.NoError(t, err)
	check(told.Payload, s.UserID)
	log, err := rdb.XRange(t.Context(), "session:revocations:log", "-", "+").Result()
	require.NoError(t, err)
	require.Len(t, log, 1)
	check(log[0].Values["message"].(string), "")

	require.ErrorIs(t, store.Destroy(t.Context(), s.ID, sessions.LoggedOut, "bye"), sessions.ErrNotFound)
	_, err = sub.ReceiveMessage(t.Context())
	require.NoError(t, err, "sockets that outlived the session hear the second try")
}

func TestDestroyUser(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	var ids []string
	for range 5 {
		ids = append(ids, create(t, store, sessions.Options{}).ID)
	}
	other, err := store.Create(t.Context(), "somebody-else", "bob", nil, sessions.Options{})
	require.NoError(t, err)
	n, err := store.DestroyUser(t.Context(), "u-"+t.Name(), sessions.Revoked, "password changed", ids[2])
	require.NoError(t, err)
	require.Equal(t, 4, n)
	list, err := store.List(t.Context(), "u-"+t.Name())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, ids[2], list[0].ID)
	_, err = store.Get(t.Context(), other.ID)
	require.NoError(t, err)
	n, err = store.DestroyUser(t.Context(), "u-"+t.Name(), sessions.Revoked, "", "")
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// Two clients and a tracker use a session while it is destroyed. Once Destroy has returned, the
// session does not exist, and nothing brings it back.
func TestDestroyedIsNeverRevived(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	stores := []*sessions.Store{sessions.New(server.Client(), sessions.Config{}), sessions.New(server.Client(), sessions.Config{})}
	rdb := server.Client()
	tracker := sessions.NewTracker(stores[0], sessions.TrackerConfig{Gather: time.Millisecond})
	follow(t, tracker)
	ctx := t.Context()

	rapid.Check(t, func(rt *rapid.T) {
		s, err := stores[0].Create(ctx, "u", "ann", nil, sessions.Options{TTL: time.Minute})
		require.NoError(rt, err)
		verbs := rapid.SliceOfN(rapid.SampledFrom([]string{"touch", "extend", "update", "metadata", "get", "track", "list", "cleanup"}), 1, 12)
		schedules := rapid.SliceOfN(verbs, 2, 6).Draw(rt, "schedules")
		position := rapid.IntRange(0, 12).Draw(rt, "destroy after")
		byUser := rapid.Bool().Draw(rt, "by user")

		gone := make(chan struct{})
		var wg sync.WaitGroup
		fail := make(chan string, 1)
		revived := func(verb string) {
			select {
			case fail <- verb:
			default:
			}
		}
		for i, verbs := range schedules {
			wg.Go(func() {
				store := stores[i%2]
				for _, verb := range verbs {
					wasGone := false
					select {
					case <-gone:
						wasGone = true
					default:
					}
					var err error
					switch verb {
					case "touch":
						_, err = store.Touch(ctx, s.ID)
					case "extend":
						_, err = store.Extend(ctx, s.ID, time.Hour)
					case "update":
						_, err = store.UpdateCharacter(ctx, s.ID, "c")
					case "metadata":
						_, err = store.UpdateMetadata(ctx, s.ID, sessions.Metadata{UserAgent: "x"})
					case "cleanup":
						_, _ = store.CleanupExpired(ctx)
						continue
					case "get":
						_, err = store.Get(ctx, s.ID)
					case "list":
						list, _ := store.List(ctx, "u") // none, when Redis did not answer
						for _, l := range list {
							if l.ID == s.ID && wasGone {
								revived(verb)
							}
						}
						continue
					case "track":
						h := tracker.Open(s, sessions.Listener{Ended: func(sessions.Revocation) {}})
						h.Touch()
						h.Close()
						continue
					}
					if err == nil && wasGone {
						revived(verb)
					}
				}
			})
		}
		for range position {
			_, _ = stores[1].Get(ctx, s.ID)
		}
		if byUser {
			_, err = stores[1].DestroyUser(ctx, "u", sessions.Revoked, "", "")
		} else {
			err = stores[1].Destroy(ctx, s.ID, sessions.Revoked, "")
		}
		require.NoError(rt, err)
		close(gone)
		wg.Wait()
		select {
		case verb := <-fail:
			rt.Fatal(fmt.Sprintf("%s found a destroyed session", verb))
		default:
		}
		require.Zero(rt, rdb.Exists(ctx, keys.Session(s.ID)).Val())
	})
	left, err := rdb.Keys(ctx, keys.Session("*")).Result()
	require.NoError(t, err)
	require.Equal(t, []string{keys.RevocationLog}, left, "late touches of the tracker revive nothing either")
}

// Two clients renew a session while DestroyUser runs. Once DestroyUser and the renewals have
// returned, the user has no session.
func TestRenewalRevivesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	stores := []*sessions.Store{sessions.New(server.Client(), sessions.Config{}), sessions.New(server.Client(), sessions.Config{})}
	rdb := server.Client()
	ctx := t.Context()
	rapid.Check(t, func(rt *rapid.T) {
		s, err := stores[0].Create(ctx, "u", "ann", nil, sessions.Options{TTL: time.Minute})
		require.NoError(rt, err)
		renewals := rapid.IntRange(1, 4).Draw(rt, "renewals")
		rivals := rapid.IntRange(1, 3).Draw(rt, "rivals")
		position := rapid.IntRange(0, 8).Draw(rt, "destroy after")
		var wg sync.WaitGroup
		for i := range rivals {
			wg.Go(func() {
				at := s
				for range renewals {
					if next, err := stores[i%2].Renew(ctx, at.ID); err == nil {
						at = next
					}
				}
			})
		}
		for range position {
			_, _ = stores[1].Get(ctx, s.ID)
		}
		_, err = stores[1].DestroyUser(ctx, "u", sessions.Revoked, "", "")
		require.NoError(rt, err)
		wg.Wait()
		left, err := rdb.Keys(ctx, "session:*").Result()
		require.NoError(rt, err)
		require.Subset(rt, []string{keys.RevocationLog}, left)
	})
}
