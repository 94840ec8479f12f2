package sessions_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

// seats runs the Devices of a node until the test ends, or until stop.
func seats(t *testing.T, store *sessions.Store, cfg sessions.DevicesConfig) (d *sessions.Devices, stop func()) {
	t.Helper()
	d = sessions.NewDevices(store, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return d, stop
}

// 50 devices of one user connect at once on two nodes, which each have a client of their own.
func TestNeverMoreDevicesThanTheLimit(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]sessions.DevicesConfig{
		"newest wins": {Limit: 3}, "oldest wins": {Limit: 3, OldestWins: true}, "single": {Limit: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Server(t)
			rdb := server.Client()
			var stores []*sessions.Store
			var nodes []*sessions.Devices
			for range 2 {
				store := sessions.New(server.Client(), sessions.Config{})
				d, _ := seats(t, store, cfg)
				stores, nodes = append(stores, store), append(nodes, d)
			}
			const devices = 50
			all := make([]sessions.Session, devices)
			for i := range all {
				all[i] = create(t, stores[0], sessions.Options{})
			}
			var let, refused atomic.Int32
			var wg sync.WaitGroup
			for i, s := range all {
				wg.Go(func() {
					_, err := nodes[i%2].Take(t.Context(), s)
					switch {
					case err == nil:
						let.Add(1)
					case errors.Is(err, sessions.ErrTooManyDevices):
						refused.Add(1)
					default:
						t.Error(err)
					}
				})
			}
			over := make(chan struct{})
			go func() { // an observer never sees too many
				defer close(over)
				for n := 0; n < 200; n++ {
					seated := 0
					for _, f := range rdb.HKeys(t.Context(), keys.UserDevices(all[0].UserID)).Val() {
						if sessions.ValidID(f) {
							seated++
						}
					}
					if seated > cfg.Limit {
						t.Error("too many", seated)
					}
				}
			}()
			wg.Wait()
			<-over
			list, err := stores[0].List(t.Context(), all[0].UserID)
			require.NoError(t, err)
			if cfg.OldestWins {
				require.EqualValues(t, cfg.Limit, let.Load())
				require.EqualValues(t, devices-cfg.Limit, refused.Load())
				require.Len(t, list, devices, "a refused device keeps its session")
				return
			}
			require.EqualValues(t, devices, let.Load())
			require.Len(t, list, cfg.Limit, "the devices that gave way are logged out")
		})
	}
}

func TestTheOldestDeviceGivesWay(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	d, _ := seats(t, store, sessions.DevicesConfig{Limit: 2})
	a, b, c := create(t, store, sessions.Options{}), create(t, store, sessions.Options{}), create(t, store, sessions.Options{})
	onEnd, ends := end()
	for _, s := range []sessions.Session{a, b, a} { // two tabs are one device
		_, err := d.Take(t.Context(), s)
		require.NoError(t, err)
		tracker.Open(s, sessions.Listener{Ended: onEnd})
	}
	_, err := d.Take(t.Context(), c)
	require.NoError(t, err)
	for range 2 {
		r := told(t, ends)
		require.Equal(t, []string{a.ID, sessions.Replaced}, []string{r.SessionID, r.Code})
	}
	require.Empty(t, ends)
	other, err := store.Create(t.Context(), "another user", "bob", nil, sessions.Options{})
	require.NoError(t, err)
	_, err = d.Take(t.Context(), other)
	require.NoError(t, err)
	require.Empty(t, ends)
}

func TestASessionOfExpressGivesWay(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	d, _ := seats(t, store, sessions.DevicesConfig{Limit: 1})
	for _, sid := range []string{"one", "two"} {
		require.NoError(t, rdb.Set(t.Context(), "sess:"+sid, `{"cookie":{},"userId":"ann"}`, time.Minute).Err())
		s, err := store.Get(t.Context(), sessions.ExpressID(sid))
		require.NoError(t, err)
		_, err = d.Take(t.Context(), s)
		require.NoError(t, err)
	}
	_, err := store.Get(t.Context(), sessions.ExpressID("one"))
	require.ErrorIs(t, err, sessions.ErrNotFound)
	_, err = store.Get(t.Context(), sessions.ExpressID("two"))
	require.NoError(t, err)
}

func TestASeatIsFreeWhenItsLastConnectionIsGone(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	store := sessions.New(server.Client(), sessions.Config{})
	cfg := sessions.DevicesConfig{Limit: 1, OldestWins: true, Lease: 2 * time.Second}
	one, stopOne := seats(t, store, cfg)
	two, _ := seats(t, store, cfg)
	a, b := create(t, store, sessions.Options{}), create(t, store, sessions.Options{})
	var releases []func()
	for _, d := range []*sessions.Devices{one, one, two} {
		release, err := d.Take(t.Context(), a)
		require.NoError(t, err)
		releases = append(releases, release)
	}
	taken := func() bool {
		release, err := two.Take(t.Context(), b)
		if err == nil {
			release()
			return false
		}
		require.ErrorIs(t, err, sessions.ErrTooManyDevices)
		return true
	}
	for _, release := range releases[:2] {
		release()
		release() // twice is once
		require.True(t, taken())
	}
	begun := time.Now()
	for time.Since(begun) < 2*cfg.Lease { // the lease is kept for as long as a connection is there
		require.True(t, taken())
	}
	releases[2]()
	require.Eventually(t, func() bool { return !taken() }, soon, tick)

	sit := func(d *sessions.Devices) { // once the seat that taken() took is given back
		require.Eventually(t, func() bool { _, err := d.Take(t.Context(), a); return err == nil }, soon, tick)
	}
	sit(one)
	require.True(t, taken())
	stopOne() // an orderly end gives all back
	require.Eventually(t, func() bool { return !taken() }, cfg.Lease/2, tick)

	sit(sessions.NewDevices(store, cfg)) // its Run is never called, as if the node had been killed
	require.True(t, taken())
	require.Eventually(t, func() bool { return !taken() }, soon, tick, "the lease lapses")
}

func TestASeatThatAnotherTookEndsTheSession(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb := server.Client()
	store := sessions.New(server.Client(), sessions.Config{})
	cfg := sessions.DevicesConfig{Limit: 1, OldestWins: true, Lease: time.Second}
	one, _ := seats(t, store, cfg)
	two, _ := seats(t, store, cfg)
	a, b := create(t, store, sessions.Options{}), create(t, store, sessions.Options{})
	_, err := one.Take(t.Context(), a)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // as a Redis that loses its data
		require.NoError(t, rdb.Del(t.Context(), keys.UserDevices(a.UserID)).Err())
		_, err := two.Take(t.Context(), b)
		return err == nil
	}, soon, tick)
	require.Eventually(t, func() bool {
		_, err := store.Get(t.Context(), a.ID)
		return errors.Is(err, sessions.ErrNotFound)
	}, soon, tick)
	_, err = store.Get(t.Context(), b.ID)
	require.NoError(t, err)
}
