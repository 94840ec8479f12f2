package sessions_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/sessions"
)

func Example() {
	server, err := miniredis.Run() // any Redis
	if err != nil {
		panic(err)
	}
	defer server.Close()
	ctx := context.Background()
	store := sessions.New(redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{server.Addr()}}), sessions.Config{})

	session, err := store.Create(ctx, "user123", "johnsmith", []string{"player"}, sessions.Options{TTL: 30 * time.Minute, CharacterID: "char456"})
	fmt.Println(session.Username, session.TTL, err)

	session, err = store.UpdateCharacter(ctx, session.ID, "newChar789")
	fmt.Println(session.CharacterID, err)

	n, err := store.DestroyUser(ctx, "user123", sessions.Revoked, "Your password was changed.", "")
	fmt.Println(n, err)

	_, err = store.Touch(ctx, session.ID)
	fmt.Println(errors.Is(err, sessions.ErrNotFound))
	// Output:
	// johnsmith 30m0s <nil>
	// newChar789 <nil>
	// 1 <nil>
	// true
}

// The embedded Redis may be miniredis, so every script must run there too.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	store := sessions.New(rdb, sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	s := create(t, store, sessions.Options{CharacterID: "c"})
	onEnd, ends := end()
	tracker.Open(s, sessions.Listener{Ended: onEnd})
	if _, err := store.Extend(t.Context(), s.ID, time.Minute); err != nil {
		t.Fatal(err)
	}
	if stats, err := store.Stats(t.Context()); err != nil || stats.Active != 1 {
		t.Fatal(stats, err)
	}
	if err := store.Destroy(t.Context(), s.ID, sessions.LoggedOut, ""); err != nil {
		t.Fatal(err)
	}
	if r := told(t, ends); r.Code != sessions.LoggedOut {
		t.Fatal(r.Code)
	}
}
