package redisbus

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// fakeTransport only notes what it is asked for: the test shows when that happens.
type fakeTransport struct {
	mu    sync.Mutex
	names map[string]bool // subscribed; guarded by mu
	// confirm, if not nil, is called for each channel that is asked for.
	confirm func(name string)
}

func (f *fakeTransport) sendSubscribe(list []*subscription) []*subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range list {
		f.names[c.name] = true
		if f.confirm != nil {
			f.confirm(c.name)
		}
	}
	return nil
}

func (f *fakeTransport) sendUnsubscribe(list []*subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range list {
		delete(f.names, c.name)
	}
}

func (f *fakeTransport) readMessages(<-chan struct{})   {}
func (f *fakeTransport) checkConnections(time.Duration) {}
func (f *fakeTransport) restart()                       {}
func (f *fakeTransport) close()                         {}

// subscribed returns what is subscribed once nothing is left to be done at this moment.
func (f *fakeTransport) subscribed() []string {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.names))
}

// confirmTo returns what confirms channels to a subscriber.
func confirmTo(s *subscriber) func(name string) {
	return func(name string) { s.handleConfirmation(&redis.Subscription{Kind: "subscribe", Channel: name}) }
}

// While a confirmation is late, its channel is not given up: who wants it again would be told by
// that confirmation that Redis has the subscription, when Redis has just ended it.
func TestALateConfirmationIsNotThatOfTheNextWish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const linger = 50 * time.Millisecond
		w, done := &fakeTransport{names: map[string]bool{}}, make(chan struct{})
		s := newSubscriber(Config{Linger: linger})
		s.transport = w
		go s.syncSubscriptions(done)
		s.changeWanted(Channel{Name: "room"}, 1)
		synctest.Wait()
		s.changeWanted(Channel{Name: "room"}, -1)
		time.Sleep(4 * linger)
		require.Equal(t, []string{"room"}, w.subscribed())
		s.changeWanted(Channel{Name: "room"}, 1)
		ctx, cancel := context.WithTimeout(t.Context(), linger)
		defer cancel()
		require.Error(t, s.waitConfirmed(ctx, channelKey{name: "room"}))
		confirmTo(s)("room")
		require.NoError(t, s.waitConfirmed(t.Context(), channelKey{name: "room"}))
		s.changeWanted(Channel{Name: "room"}, -1)
		time.Sleep(3 * linger)
		require.Empty(t, w.subscribed())

		s.changeWanted(Channel{Name: "silence"}, 1) // which Redis never confirms
		synctest.Wait()
		s.changeWanted(Channel{Name: "silence"}, -1)
		time.Sleep(confirmPatience + 3*linger)
		require.Empty(t, w.subscribed())
		close(done)
	})
}

// A channel that nobody wants any more lingers and is given up then, also behind one that is given
// up and wanted again all the time.
func TestUnwantedChannelsAreGivenUpInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const linger, rooms = time.Second, 100
		w, done := &fakeTransport{names: map[string]bool{}}, make(chan struct{})
		s := newSubscriber(Config{Linger: linger})
		s.transport, w.confirm = w, confirmTo(s)
		go s.syncSubscriptions(done)
		want := func(name string, by int) {
			s.changeWanted(Channel{Name: name}, by)
			synctest.Wait()
		}
		want("busy", 1)
		want("busy", -1)
		for i := range rooms {
			want(strconv.Itoa(i), 1)
			want(strconv.Itoa(i), -1)
		}
		time.Sleep(linger / 30) // the subscriber's own timer runs beside
		for range 30 {
			time.Sleep(linger / 10)
			want("busy", 1)
			want("busy", -1)
			if now := w.subscribed(); len(now) != rooms+1 {
				require.Equal(t, []string{"busy"}, now)
			}
		}
		require.Equal(t, []string{"busy"}, w.subscribed())
		want("busy", 1)
		time.Sleep(3 * linger)
		require.Equal(t, []string{"busy"}, w.subscribed())
		want("busy", -1)
		time.Sleep(linger - 1)
		require.Len(t, w.subscribed(), 1, "not yet")
		time.Sleep(2*linger + 1)
		require.Empty(t, w.subscribed())
		require.Empty(t, s.channels)
		require.Empty(t, s.lingering)
		want("back", 1)
		want("back", -1)
		want("back", 1)
		time.Sleep(3 * linger)
		require.Equal(t, []string{"back"}, w.subscribed())
		close(done)
		synctest.Wait()
	})
}
