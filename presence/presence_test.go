package presence_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/presence"
)

const short = 50 * time.Millisecond

// A user joins with the first device on any node, and leaves with the last.
func TestUsersNotDevices(t *testing.T) {
	t.Parallel()
	rdb, h := redistest.Client(t), &hall{}
	one, two := start(t, rdb, h, presence.Config{Grace: short}), start(t, rdb, h, presence.Config{Grace: short})
	phone, laptop, tv := one.come("ann", "phone", "zone:1"), one.come("ann", "laptop", "zone:1"), two.come("ann", "tv", "zone:1")
	h.says(t, "joined zone:1 ann")
	two.come("bob", "phone", "zone:1")
	h.says(t, "joined zone:1 ann", "joined zone:1 bob")
	one.online("ann", "bob")
	require.ElementsMatch(t, []string{"ann", "bob"}, rdb.SMembers(t.Context(), "online:users").Val())

	one.Disconnected(phone)
	one.Left(laptop, "zone:1")
	one.Left(laptop, "zone:1")
	require.Eventually(t, func() bool { return len(rdb.Keys(t.Context(), "presence:{zone:1}:on:*").Val()) == 1 }, soon, tick)
	require.Len(t, h.heard(), 2, "it is on two still")
	two.Disconnected(tv)
	h.says(t, "joined zone:1 ann", "joined zone:1 bob", "left zone:1 ann")
	two.online("ann", "bob")
	one.Disconnected(laptop)
	two.online("bob")
	require.Equal(t, []string{"bob"}, rdb.SMembers(t.Context(), "online:users").Val())
	require.Equal(t, []string{"bob"}, two.ids("zone:1", 0))
}

// A client that comes back within the grace, on any node, was never gone.
func TestFlapsAreNotTold(t *testing.T) {
	t.Parallel()
	rdb, h := redistest.Client(t), &hall{}
	cfg := presence.Config{Grace: time.Minute}
	one, two := start(t, rdb, h, cfg), start(t, rdb, h, cfg)
	p := one.come("ann", "1", "zone:1")
	h.says(t, "joined zone:1 ann")
	for i := range 20 {
		one.Disconnected(p)
		p = one.come("ann", fmt.Sprint("again", i), "zone:1")
	}
	one.Disconnected(p)
	two.come("ann", "there", "zone:1")
	bob := two.come("bob", "1", "zone:1")
	h.says(t, "joined zone:1 ann", "joined zone:1 bob")
	two.Left(bob, "zone:1")
	h.says(t, "joined zone:1 ann", "joined zone:1 bob", "left zone:1 bob")
	two.online("ann", "bob")
}

// The users of a dead node leave by the end of its lease, each once. A user who is on another node
// too stays.
func TestADeadNodeLeavesNoGhosts(t *testing.T) {
	t.Parallel()
	rdb, h := redistest.Client(t), &hall{}
	const lease = 2 * time.Second
	cfg := presence.Config{Lease: lease, Grace: short}
	dead := start(t, rdb, h, cfg)
	others := []*node{start(t, rdb, h, cfg), start(t, rdb, h, cfg), start(t, rdb, h, cfg)}
	var want []string
	for i := range 250 {
		dead.come(fmt.Sprintf("u%03d", i), "1", "zone:1", fmt.Sprint("party:", i%7))
	}
	others[0].come("u007", "other", "zone:1")
	others[1].come("zoe", "1", "zone:1")
	require.Eventually(t, func() bool { return rdb.SCard(t.Context(), "online:users").Val() == 251 && len(h.heard()) == 501 }, soon, tick)
	dead.kill()
	begun := time.Now()
	for _, n := range others {
		n.online("u007", "zoe")
	}
	require.Less(t, time.Since(begun), lease+2*time.Second) // one second is for a busy machine
	for i := range 250 {
		if i != 7 {
			want = append(want, fmt.Sprintf("left zone:1 u%03d", i))
		}
		want = append(want, fmt.Sprintf("left party:%d u%03d", i%7, i))
	}
	require.Eventually(t, func() bool { return len(h.heard()) >= 501+len(want) }, soon, tick)
	got := h.heard()[501:]
	sort.Strings(got)
	sort.Strings(want)
	require.Equal(t, want, got)
	require.Equal(t, []string{"u007", "zoe"}, others[2].ids("zone:1", 1))
	seen, err := others[0].Seen(t.Context(), event.Player{}, presence.Names{Users: []string{"u000", "zoe"}})
	require.NoError(t, err)
	require.InDelta(t, time.Now().UnixMilli(), seen.Users[0].LastSeenAt, 10_000)
	require.True(t, seen.Users[1].Online)
	require.Eventually(t, func() bool { return rdb.SCard(t.Context(), keys.PresenceDead).Val() == 0 }, soon, tick)
	require.Eventually(t, func() bool { return len(rdb.Keys(t.Context(), "presence:{party:*").Val()) == 0 }, soon, tick, "nothing is left of it, after a second")
}

// A node that was taken for dead, but is alive, adds its users again.
func TestANodeThatWasPausedComesBack(t *testing.T) {
	t.Parallel()
	rdb, h := redistest.Client(t), &hall{}
	cfg := presence.Config{Lease: time.Second, Grace: short}
	paused, other := start(t, rdb, h, cfg), start(t, rdb, h, cfg)
	paused.come("ann", "1", "zone:1")
	other.come("bob", "1", "zone:1")
	h.says(t, "joined zone:1 ann", "joined zone:1 bob")
	// To the other nodes, a pause longer than the lease looks like this.
	var nodes []string
	require.NoError(t, rdb.ZRange(t.Context(), keys.PresenceNodes, 0, -1).ScanSlice(&nodes))
	for _, n := range nodes {
		if rdb.SIsMember(t.Context(), keys.PresenceOn("zone:1", n), "ann").Val() {
			require.NoError(t, rdb.ZAdd(t.Context(), keys.PresenceNodes, redis.Z{Score: 1, Member: n}).Err())
		}
	}
	require.Eventually(t, func() bool {
		all := h.heard()
		return len(all) == 2 || len(all) == 4
	}, soon, tick)
	require.Eventually(t, func() bool {
		now := rdb.ZRange(t.Context(), keys.PresenceNodes, 0, -1).Val()
		return fmt.Sprint(now) != fmt.Sprint(nodes) && rdb.SCard(t.Context(), keys.PresenceDead).Val() == 0 && fmt.Sprint(other.ids("", 0)) == "[ann bob]"
	}, soon, tick)
	for _, what := range h.heard()[2:] {
		require.Contains(t, []string{"left zone:1 ann", "joined zone:1 ann"}, what)
	}
	other.online("ann", "bob")
}

// The last node that ends leaves nobody online. Users of another node stay for the grace, so that
// they can come back.
func TestAFarewell(t *testing.T) {
	t.Parallel()
	rdb, h := redistest.Client(t), &hall{}
	cfg := presence.Config{Lease: 4 * time.Second, Grace: 500 * time.Millisecond}
	one, two := start(t, rdb, h, cfg), start(t, rdb, h, cfg)
	one.come("ann", "1", "zone:1")
	one.come("bob", "1", "zone:1")
	two.online("ann", "bob")
	one.stop()
	require.Equal(t, []string{"ann", "bob"}, two.ids("", 0))
	two.come("ann", "again", "zone:1")
	two.online("ann")
	h.says(t, "joined zone:1 ann", "joined zone:1 bob", "left zone:1 bob")
	two.stop()
	require.Empty(t, rdb.SMembers(t.Context(), "online:users").Val())
	require.Eventually(t, func() bool {
		return fmt.Sprint(rdb.Keys(t.Context(), "presence:*").Val()) == "["+keys.PresenceSeen+"]"
	}, soon, tick, "what was told is kept for a second")
}

// Counts and pages include all nodes, in order, each user once.
func TestListsArePaged(t *testing.T) {
	t.Parallel()
	rdb, h := redistest.Client(t), &hall{}
	one, two := start(t, rdb, h, presence.Config{}), start(t, rdb, h, presence.Config{})
	var want []string
	for i := range 250 {
		id := fmt.Sprintf("u%03d", i)
		[]*node{one, two}[i%2].come(id, "1", "global")
		want = append(want, id)
	}
	require.Eventually(t, func() bool { return rdb.ZCard(t.Context(), keys.PresenceUsers("global")).Val() == 250 }, soon, tick)
	for _, limit := range []int{0, 1, 7, 125, 200} {
		require.Equal(t, want, one.ids("", limit))
	}
	me := on("u000", "1")
	n, err := one.Count(t.Context(), me, presence.Place{Channel: "global"})
	require.NoError(t, err)
	require.Equal(t, 250, n.Count)
	page, err := one.List(t.Context(), me, presence.Query{Channel: "global", Limit: 2})
	require.NoError(t, err)
	require.Equal(t, presence.Page{Total: 250, Next: "u001", Users: []presence.User{
		{UserID: "u000", Username: "The u000", CharacterID: "c-u000"}, {UserID: "u001", Username: "The u001", CharacterID: "c-u001"},
	}}, page)
}

func TestCrowdsAreNotTold(t *testing.T) {
	t.Parallel()
	rdb, h := redistest.Client(t), &hall{}
	n := start(t, rdb, h, presence.Config{Crowd: 3, Grace: short})
	var all []event.Player
	for i := range 6 {
		all = append(all, n.come(fmt.Sprint("u", i), "1", "global"))
		require.Eventually(t, func() bool { return rdb.ZCard(t.Context(), keys.PresenceUsers("global")).Val() == int64(i+1) }, soon, tick)
	}
	for i, p := range all {
		n.Left(p, "global")
		require.Eventually(t, func() bool { return rdb.ZCard(t.Context(), keys.PresenceUsers("global")).Val() == int64(5-i) }, soon, tick)
	}
	h.says(t, "joined global u0", "joined global u1", "joined global u2", "left global u3", "left global u4", "left global u5")
}

func TestQuestions(t *testing.T) {
	t.Parallel()
	rdb, h := redistest.Client(t), &hall{}
	n := start(t, rdb, h, presence.Config{Grace: short})
	ann := n.come("ann", "1", "zone:1")
	bob := n.come("bob", "1")
	n.online("ann", "bob")
	n.Disconnected(bob)
	n.online("ann")
	changed := ann
	changed.CharacterID = "other"
	n.CharacterChanged(changed)
	ask := func(name, raw string) (string, error) {
		for _, r := range n.Routes() {
			if r.Name == name {
				out, err := r.Serve(context.Background(), &ann, []byte(raw), nil)
				return string(out), err
			}
		}
		return "", fmt.Errorf("no route %s", name)
	}
	require.Eventually(t, func() bool {
		got, err := ask("presence:list", `{"channel":"zone:1"}`)
		return err == nil && got == `{"users":[{"userId":"ann","username":"The ann","characterId":"other"}],"total":1}`
	}, soon, tick)
	for raw, want := range map[string]string{
		`presence:count {"channel":"zone:1"}`: `{"count":1}`,
		`presence:count {}`:                   `{"count":1}`,
	} {
		got, err := ask(raw[:14], raw[15:])
		require.NoError(t, err, raw)
		require.Equal(t, want, got, raw)
	}
	seen, err := n.Seen(t.Context(), ann, presence.Names{Users: []string{"bob", "nobody", "ann"}})
	require.NoError(t, err)
	require.InDelta(t, time.Now().UnixMilli(), seen.Users[0].LastSeenAt, 60_000)
	require.Equal(t, []presence.Sighting{{UserID: "nobody"}, {UserID: "ann", Online: true}}, seen.Users[1:])

	for raw, code := range map[string]string{
		`presence:list {"channel":"zone:2"}`:              "NOT_IN_CHANNEL",
		`presence:list {"channel":"online:users"}`:        "NOT_IN_CHANNEL",
		`presence:list {"channel":"zone:1","limit":201}`:  "INVALID",
		`presence:list {"channel":"zone:1","after":7}`:    "INVALID",
		`presence:count {"channel":"zone:2"}`:             "NOT_IN_CHANNEL",
		`presence:seen {}`:                                "INVALID",
		`presence:seen {"users":[]}`:                      "INVALID",
		`presence:seen {"users":[""]}`:                    "INVALID",
		`presence:seen {"users":"ann"}`:                   "INVALID",
		`presence:seen {"users":["a","b"],"channel":"x"}`: "INVALID",
	} {
		name := raw[:13]
		if raw[13] != ' ' {
			name = raw[:14]
		}
		_, err := ask(name, raw[len(name)+1:])
		require.Equal(t, code, fault.Of(err).Code, raw)
	}
}

// Whatever devices do, on whatever node, Redis knows in the end who is there, and the joins and
// leaves that were broadcast for each user alternate.
func TestAnySchedule(t *testing.T) {
	t.Parallel()
	rdb, h := redistest.Client(t), &hall{}
	cfg := presence.Config{Grace: time.Millisecond, Lease: time.Minute}
	nodes := []*node{start(t, rdb, h, cfg), start(t, rdb, h, cfg), start(t, rdb, h, cfg)}
	type device struct {
		p        event.Player
		in, conn bool
	}
	devices := make([][]device, len(nodes))
	for i := range nodes {
		for u := range 10 {
			for d := range 2 {
				devices[i] = append(devices[i], device{p: on(fmt.Sprint("u", u), fmt.Sprint(i, d))})
			}
		}
	}
	for range 6000 {
		i := rand.IntN(len(nodes))
		d := &devices[i][rand.IntN(20)]
		switch n := nodes[i]; {
		case !d.conn:
			n.Connected(d.p)
			d.conn = true
		case rand.IntN(3) == 0:
			n.Disconnected(d.p)
			d.conn, d.in = false, false
		case d.in:
			n.Left(d.p, "zone:1")
			d.in = false
		default:
			n.Joined(d.p, "zone:1")
			d.in = true
		}
	}
	online, there := map[string]bool{}, map[string]bool{}
	for i := range nodes {
		for _, d := range devices[i] {
			if d.conn {
				online[d.p.UserID] = true
			}
			if d.in {
				there[d.p.UserID] = true
			}
		}
	}
	same := func(set map[string]bool, got []string) bool {
		for _, id := range got {
			if !set[id] {
				return false
			}
		}
		return len(set) == len(got)
	}
	require.Eventually(t, func() bool {
		return same(online, rdb.SMembers(t.Context(), "online:users").Val()) && same(there, rdb.ZRange(t.Context(), keys.PresenceUsers("zone:1"), 0, -1).Val())
	}, soon, tick)
	// The node that changes Redis broadcasts right afterwards.
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		balance := map[string]int{}
		for _, what := range h.heard() {
			var verb, place, user string
			_, err := fmt.Sscan(what, &verb, &place, &user)
			require.NoError(t, err)
			if verb == "joined" {
				balance[user]++
			} else {
				balance[user]--
			}
		}
		for u := range 10 {
			id := fmt.Sprint("u", u)
			want := 0
			if there[id] {
				want = 1
			}
			require.Equal(t, want, balance[id], "%s was told to join once more than to leave when it is there", id)
		}
	}, soon, tick)
}
