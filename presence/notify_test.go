package presence_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/presence"
)

// about returns what was told of a user, and when.
func (h *hall) about(user string) (said []string, at []time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, what := range h.said {
		if strings.HasSuffix(what, " "+user) {
			said, at = append(said, what), append(at, h.at[i])
		}
	}
	return said, at
}

// A user who enters and leaves a channel all the time, on two nodes, is told of once a second: the
// first change at once, later ones as one state at the end of the second, and the last state
// always.
func TestAUserIsToldOfOnceASecond(t *testing.T) {
	t.Parallel()
	for _, stays := range []bool{true, false} {
		rdb, h := redistest.Client(t), &hall{}
		nodes := []*node{start(t, rdb, h, presence.Config{}), start(t, rdb, h, presence.Config{})}
		nodes[1].come("bob", "1", "zone:1")
		h.says(t, "joined zone:1 bob")
		anns := []event.Player{nodes[0].come("ann", "here"), nodes[1].come("ann", "there")}
		isIn := []bool{false, false}
		changes := 0
		toggle := func(i int) {
			if isIn[i] = !isIn[i]; isIn[i] {
				nodes[i].Joined(anns[i], "zone:1")
			} else {
				nodes[i].Left(anns[i], "zone:1")
			}
			changes++
		}
		isThere := func(want bool) func() bool {
			return func() bool {
				_, err := rdb.ZScore(t.Context(), keys.PresenceUsers("zone:1"), "ann").Result()
				return (err == nil) == want
			}
		}
		begun := time.Now()
		for time.Since(begun) < 4*time.Second {
			i := changes / 2 % 2 // each enters and leaves in turn, and Redis sees each of these
			toggle(i)
			require.Eventually(t, isThere(isIn[i]), soon, time.Millisecond)
		}
		if isIn[0] || isIn[1] {
			toggle(changes / 2 % 2)
		}
		if stays {
			toggle(0)
		}
		require.Greater(t, changes, 200)
		want := "left zone:1 ann"
		if stays {
			want = "joined zone:1 ann"
		}
		require.Eventually(t, func() bool {
			said, _ := h.about("ann")
			return said[len(said)-1] == want && rdb.Exists(t.Context(), keys.PresenceNotified("zone:1"), keys.PresencePending("zone:1")).Val() == 0
		}, soon, tick)
		said, at := h.about("ann")
		t.Logf("%d changes, told: %v", changes, said)
		require.LessOrEqual(t, len(said), 7, "in four seconds, and at the end of a fifth")
		for i := range said {
			require.Equal(t, i%2 == 0, strings.HasPrefix(said[i], "joined"), "only changes are told: %v", said)
			if i > 0 {
				require.Greater(t, at[i].Sub(at[i-1]), 900*time.Millisecond, "a second, as the clock of Redis has it")
			}
		}
	}
}

// What a node had still to tell is told by another when it dies: of a user who is gone, and
// of one who stays, on another node.
func TestWhatADeadNodeHadToTellIsTold(t *testing.T) {
	t.Parallel()
	rdb, h := redistest.Client(t), &hall{}
	cfg := presence.Config{Lease: time.Second}
	dead, other := start(t, rdb, h, cfg), start(t, rdb, h, cfg)
	other.come("bob", "1", "zone:1", "zone:2")
	h.says(t, "joined zone:1 bob", "joined zone:2 bob")
	isPending := func(channel, user, shown string) func() bool {
		return func() bool {
			text, err := rdb.HGet(t.Context(), keys.PresencePending(channel), user).Result()
			return err == nil && strings.Contains(text, shown)
		}
	}
	cat := dead.come("cat", "1", "zone:2")
	h.says(t, "joined zone:1 bob", "joined zone:2 bob", "joined zone:2 cat")
	require.Eventually(t, func() bool { return rdb.Exists(t.Context(), keys.PresenceNotified("zone:2")).Val() == 0 }, soon, tick)
	dead.Left(cat, "zone:2") // is told
	h.says(t, "joined zone:1 bob", "joined zone:2 bob", "joined zone:2 cat", "left zone:2 cat")
	dead.Joined(cat, "zone:2") // is pending
	ann := dead.come("ann", "1", "zone:1")
	require.Eventually(t, isPending("zone:2", "cat", ""), soon, time.Millisecond)
	other.come("cat", "2", "zone:2")
	require.Eventually(t, func() bool { said, _ := h.about("ann"); return len(said) == 1 }, soon, time.Millisecond)
	dead.Left(ann, "zone:1") // is pending, and this node has nobody there any more
	require.Eventually(t, isPending("zone:1", "ann", `"The ann"`), soon, time.Millisecond)
	dead.kill()
	h.says(t, "joined zone:1 bob", "joined zone:2 bob", "joined zone:2 cat", "left zone:2 cat", "joined zone:2 cat", "joined zone:1 ann", "left zone:1 ann")
	require.Equal(t, []string{"bob", "cat"}, other.ids("zone:2", 0))
	require.Eventually(t, func() bool {
		return rdb.Exists(t.Context(), keys.PresenceNotified("zone:1"), keys.PresencePending("zone:1"), keys.PresenceNotified("zone:2"), keys.PresencePending("zone:2")).Val() == 0
	}, soon, tick)
	nodes := rdb.ZRangeByScore(t.Context(), keys.PresenceNodes, &redis.ZRangeBy{Min: "-inf", Max: "+inf"}).Val()
	require.Len(t, nodes, 1)
	require.Eventually(t, func() bool {
		return len(rdb.SMembers(t.Context(), keys.PresenceNode(nodes[0])).Val()) == 3
	}, soon, tick, "the game and bob's two channels are left in its index")
}
