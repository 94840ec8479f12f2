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

// A server opens a handle for each socket, and is told when the session of the socket ends.
func ExampleTracker() {
	server, err := miniredis.Run() // any Redis
	if err != nil {
		panic(err)
	}
	defer server.Close()
	ctx, stop := context.WithCancel(context.Background())
	store := sessions.New(redis.NewClient(&redis.Options{Addr: server.Addr()}), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	done := make(chan error)
	go func() { done <- tracker.Run(ctx) }()
	<-tracker.Ready()

	session, err := store.Create(ctx, "user123", "johnsmith", []string{"player"}, sessions.Options{})
	if err != nil {
		panic(err)
	}
	ended := make(chan sessions.Revocation, 1)
	handle := tracker.Open(session, sessions.Listener{Ended: func(r sessions.Revocation) { ended <- r }})
	handle.Touch() // the client did something
	fmt.Println(handle.Alive())

	err = store.Destroy(ctx, session.ID, sessions.LoggedOut, "You logged out.") // on any node
	revocation := <-ended
	fmt.Println(revocation.Code, revocation.Reason, handle.Alive(), err)

	stop()
	fmt.Println(<-done)
	// Output:
	// true
	// LOGGED_OUT You logged out. false <nil>
	// <nil>
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
