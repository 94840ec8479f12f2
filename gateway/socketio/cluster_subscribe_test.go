package socketio

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// wishes is a wire that only notes what it is asked for: a fake, for what is shown here is when.
type wishes map[string]bool

func (w wishes) subscribe(list []*channel) []*channel {
	for _, c := range list {
		w[c.name] = true
	}
	return nil
}

func (w wishes) unsubscribe(list []*channel) {
	for _, c := range list {
		delete(w, c.name)
	}
}

func (w wishes) run(<-chan struct{}) {}
func (w wishes) check(time.Duration) {}
func (w wishes) close()              {}

// A channel that was left is kept for a while, and given up then: also behind one that is left and joined again all the time.
func TestWhatIsLeftIsGivenUpInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const linger, rooms = time.Second, 100
		asked, done := wishes{}, make(chan struct{})
		s := newSubscriber(linger, nil)
		s.wire = asked
		go s.sync(done)
		want := func(name string, by int) {
			s.want(name, nil, channelRoom, by)
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
			if now := len(asked); now != rooms+1 {
				require.Equal(t, 1, now)
			}
		}
		require.Equal(t, wishes{"busy": true}, asked)
		want("busy", 1)
		time.Sleep(3 * linger)
		synctest.Wait()
		require.Equal(t, wishes{"busy": true}, asked)
		want("busy", -1)
		time.Sleep(linger - 1)
		synctest.Wait()
		require.Len(t, asked, 1, "not yet")
		time.Sleep(2*linger + 1)
		synctest.Wait()
		require.Empty(t, asked)
		require.Empty(t, s.channels)
		require.Empty(t, s.parting)
		want("back", 1)
		want("back", -1)
		want("back", 1)
		time.Sleep(3 * linger)
		synctest.Wait()
		require.Equal(t, wishes{"back": true}, asked)
		close(done)
		synctest.Wait()
	})
}
