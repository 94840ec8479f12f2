package sessions_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

// runConnections makes the Connections of a node and runs it.
func runConnections(t *testing.T, store *sessions.Store, limit int, lease time.Duration) (c *sessions.Connections, stop func()) {
	t.Helper()
	c = sessions.NewConnections(store, limit, lease)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return c, stop
}

// 50 connections of one user at once to two nodes: 20 get in. One that ends makes room for one.
func TestConnectionsAreCountedOverAllNodes(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	one, _ := runConnections(t, store, 20, 0)
	two, _ := runConnections(t, store, 20, 0)
	var mu sync.Mutex
	var releases []func()
	refused := 0
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			_, release, err := []*sessions.Connections{one, two}[i%2].Admit(t.Context(), "ann")
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, sessions.ErrNotFound) { // no ban
				releases = append(releases, release)
			} else if errors.Is(err, sessions.ErrTooManyConnections) {
				refused++
			}
		})
	}
	all.Wait()
	require.Len(t, releases, 20)
	require.Equal(t, 30, refused)
	_, _, err := one.Admit(t.Context(), "bob")
	require.ErrorIs(t, err, sessions.ErrNotFound, "another user: no ban, and room")

	releases[0]()
	releases[0]()
	require.Eventually(t, func() bool { return rdb.SCard(t.Context(), keys.UserConnections("ann")).Val() == 19 }, soon, tick)
	_, _, err = two.Admit(t.Context(), "ann")
	require.ErrorIs(t, err, sessions.ErrNotFound)
	_, _, err = one.Admit(t.Context(), "ann")
	require.ErrorIs(t, err, sessions.ErrTooManyConnections)
}

// The connections of a node that died do not count once its lease has ended; those of one that
// stops are removed at once.
func TestConnectionsOfADeadNodeDoNotCount(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	dead := sessions.NewConnections(store, 3, 300*time.Millisecond) // it never runs, and does not renew its lease
	alive, _ := runConnections(t, store, 3, 0)
	for range 3 {
		_, _, err := dead.Admit(t.Context(), "ann")
		require.ErrorIs(t, err, sessions.ErrNotFound)
	}
	require.Eventually(t, func() bool {
		_, _, err := alive.Admit(t.Context(), "ann")
		return errors.Is(err, sessions.ErrNotFound)
	}, soon, tick)
	for range 2 {
		_, _, err := alive.Admit(t.Context(), "ann")
		require.ErrorIs(t, err, sessions.ErrNotFound)
	}
	_, _, err := alive.Admit(t.Context(), "ann")
	require.ErrorIs(t, err, sessions.ErrTooManyConnections)

	stopped, stop := runConnections(t, store, 3, 0)
	_, _, err = stopped.Admit(t.Context(), "bob")
	require.ErrorIs(t, err, sessions.ErrNotFound)
	stop()
	require.Zero(t, rdb.Exists(t.Context(), keys.UserConnections("bob")).Val())
}

// A Redis that lost its data hears of the connections again, and a script that it refuses lets in,
// so that the node's own bound is what is left.
func TestConnectionsWhileRedisFails(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	c, _ := runConnections(t, store, 2, 600*time.Millisecond)
	_, release, err := c.Admit(t.Context(), "ann")
	require.ErrorIs(t, err, sessions.ErrNotFound)
	require.Eventually(t, func() bool { return rdb.ZCard(t.Context(), keys.ConnectedNodes).Val() == 1 }, soon, tick)
	require.NoError(t, rdb.FlushDB(t.Context()).Err())
	require.Eventually(t, func() bool { return rdb.SCard(t.Context(), keys.UserConnections("ann")).Val() == 1 }, soon, tick)
	release()
	require.Eventually(t, func() bool { return rdb.SCard(t.Context(), keys.UserConnections("ann")).Val() == 0 }, soon, tick)

	require.NoError(t, rdb.Set(t.Context(), keys.UserConnections("bob"), "not a set", 0).Err())
	for range 5 {
		_, _, err = c.Admit(t.Context(), "bob")
		require.ErrorIs(t, err, sessions.ErrNotFound, "it is admitted")
	}
}

// A connection that goes on with another one is counted whatever the number, since the other one
// ends.
func TestAReplacementIsAlwaysCounted(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	one, _ := runConnections(t, store, 2, 0)
	two, _ := runConnections(t, store, 2, 0)
	var releases []func()
	for range 2 {
		_, release, err := one.Admit(t.Context(), "ann")
		require.ErrorIs(t, err, sessions.ErrNotFound)
		releases = append(releases, release)
	}
	_, _, err := two.Admit(t.Context(), "ann")
	require.ErrorIs(t, err, sessions.ErrTooManyConnections)
	count := func() int64 { return rdb.SCard(t.Context(), keys.UserConnections("ann")).Val() }
	end := two.AdmitReplacement("ann")
	require.Eventually(t, func() bool { return count() == 3 }, soon, tick)
	releases[0]()
	require.Eventually(t, func() bool { return count() == 2 }, soon, tick)
	_, _, err = one.Admit(t.Context(), "ann")
	require.ErrorIs(t, err, sessions.ErrTooManyConnections)
	end()
	end()
	require.Eventually(t, func() bool { return count() == 1 }, soon, tick)
	two.AdmitReplacement("bob")() // it ends at once
	require.Eventually(t, func() bool { return rdb.Exists(t.Context(), keys.UserConnections("bob")).Val() == 0 }, soon, tick)
}

// A failover forgets that a connection has ended. The next refusal has its node remove it, at the
// next renewal of its lease.
func TestAForgottenEndIsFoundAfterARefusal(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	one, _ := runConnections(t, store, 2, 600*time.Millisecond)
	two, _ := runConnections(t, store, 2, 600*time.Millisecond)
	_, release, err := one.Admit(t.Context(), "ann")
	require.ErrorIs(t, err, sessions.ErrNotFound)
	_, _, err = one.Admit(t.Context(), "ann")
	require.ErrorIs(t, err, sessions.ErrNotFound)
	both := rdb.SMembers(t.Context(), keys.UserConnections("ann")).Val()
	require.Len(t, both, 2)
	release()
	require.Eventually(t, func() bool { return rdb.SCard(t.Context(), keys.UserConnections("ann")).Val() == 1 }, soon, tick)
	require.NoError(t, rdb.SAdd(t.Context(), keys.UserConnections("ann"), both).Err()) // the SREM is forgotten
	_, _, err = two.Admit(t.Context(), "ann")
	require.ErrorIs(t, err, sessions.ErrTooManyConnections)
	require.Eventually(t, func() bool { return rdb.SCard(t.Context(), keys.UserConnections("ann")).Val() == 1 }, soon, tick)
	_, _, err = two.Admit(t.Context(), "ann")
	require.ErrorIs(t, err, sessions.ErrNotFound)
	require.Eventually(t, func() bool { return rdb.Exists(t.Context(), keys.CrowdedUsers).Val() == 0 }, soon, tick, "it is forgotten")
}
