package chat_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// A player who is no longer in the game's set is taken out of the channel and told so. The others
// stay, and so do those whom a role lets in while they have it.
func TestMembersAreJudgedAgain(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	r := newRooms()
	mod := event.Player{UserID: "mod", Conn: "c-mod", Roles: []string{"moderator"}}
	r.users[mod.Conn] = mod
	observed := &observer{}
	s := chat.New(rdb, r, chat.Config{Membership: chat.RedisMembership{Redis: rdb}, Observer: observed})
	t.Cleanup(s.Close)
	set := keys.Members("guild", "g1")
	require.NoError(t, rdb.SAdd(t.Context(), set, ann.UserID, bob.UserID).Err())
	for _, p := range []event.Player{ann, bob, mod} {
		for _, channel := range []string{"guild:g1", "global", "combat:7"} {
			_, err := s.Join(t.Context(), p, chat.Channel{Channel: channel})
			require.NoError(t, err)
		}
	}
	require.NoError(t, s.Rejudge(t.Context()))
	require.Empty(t, r.told)

	require.NoError(t, rdb.SRem(t.Context(), set, bob.UserID).Err())
	require.NoError(t, s.Rejudge(t.Context(), "global", "guild:other", "nonsense"))
	require.Empty(t, r.told, "nobody asked about that channel")
	require.NoError(t, s.Rejudge(t.Context()))
	require.Equal(t, []cast{{bob.Conn, "chat:left", chat.Removed{Channel: "guild:g1", Code: "NOT_IN_CHANNEL"}}}, r.told)
	require.Equal(t, []string{bob.UserID + " guild:g1"}, observed.left)
	require.True(t, r.In(ann.Conn, "chat:guild:g1"))
	require.True(t, r.In(mod.Conn, "chat:guild:g1"))
	require.True(t, r.In(bob.Conn, "chat:global"), "an open channel")
	require.True(t, r.In(bob.Conn, "chat:combat:7"), "everybody may watch a fight")
	_, err := s.Send(t.Context(), bob, chat.Draft{Channel: "guild:g1", Text: "still here"})
	require.ErrorIs(t, err, chat.ErrNotInChannel)
	_, err = s.History(t.Context(), bob, chat.HistoryQuery{Channel: "guild:g1"})
	require.ErrorIs(t, err, chat.ErrNotInChannel)

	mod.Roles = nil
	r.mu.Lock()
	r.users[mod.Conn] = mod
	r.told = nil
	r.mu.Unlock()
	require.NoError(t, s.Rejudge(t.Context()))
	require.Equal(t, []cast{{mod.Conn, "chat:left", chat.Removed{Channel: "guild:g1", Code: "NOT_IN_CHANNEL"}}}, r.told)
}

// A player who comes back may be in the channels in which they still may be: who was kicked out of
// a guild, or banned from a channel, is told that and nothing else. While nobody knows, nobody may
// say.
func TestWhoComesBackIsJudged(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	r := newRooms()
	membership := &lostMembership{Membership: chat.RedisMembership{Redis: rdb}}
	s := chat.New(rdb, r, chat.Config{Membership: membership})
	t.Cleanup(s.Close)
	judge := func(channel string) *chat.Removed {
		t.Helper()
		why, err := s.JudgeReturn(t.Context(), bob, channel)
		require.NoError(t, err)
		return why
	}
	set := keys.Members("guild", "g1")
	require.NoError(t, rdb.SAdd(t.Context(), set, ann.UserID, bob.UserID).Err())
	for _, channel := range []string{"guild:g1", "global", "combat:7", "zone:z", "nonsense"} {
		require.Nil(t, judge(channel), channel)
	}
	require.NoError(t, rdb.SRem(t.Context(), set, bob.UserID).Err())
	require.Equal(t, &chat.Removed{Channel: "guild:g1", Code: "NOT_IN_CHANNEL"}, judge("guild:g1"))
	require.Nil(t, judge("global"))
	mod := event.Player{UserID: "mod", Conn: "c-mod", Roles: []string{"moderator"}}
	r.users[mod.Conn] = mod
	_, err := s.Ban(t.Context(), mod, chat.SanctionRequest{UserID: bob.UserID, Channel: "zone:z", ForMs: 60_000})
	require.NoError(t, err)
	require.Equal(t, &chat.Removed{Channel: "zone:z", Code: "CHAT_BANNED"}, judge("zone:z"))
	require.Nil(t, judge("zone:other"))
	membership.err = errors.New("away")
	why, err := s.JudgeReturn(t.Context(), bob, "guild:g1")
	require.ErrorContains(t, err, "away")
	require.Nil(t, why)
}

// lostMembership is a Membership that can fail.
type lostMembership struct {
	chat.Membership
	err error
}

func (m *lostMembership) MayJoin(ctx context.Context, p event.Player, channel string) (bool, error) {
	if m.err != nil {
		return false, m.err
	}
	return m.Membership.MayJoin(ctx, p, channel)
}

// observer notes who left which channel.
type observer struct{ left []string }

func (o *observer) Joined(event.Player, string) {}

func (o *observer) Left(p event.Player, channel string) {
	o.left = append(o.left, p.UserID+" "+channel)
}

// A set of members is asked about with one call, however many of them are here.
func TestOneCallForEachChannel(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client() // others' calls are not counted
	players := make([]event.Player, 1500)
	for i := range players {
		players[i] = event.Player{UserID: fmt.Sprint("u", i)}
	}
	require.NoError(t, rdb.SAdd(t.Context(), keys.Members("party", "p"), "u0", "u1499").Err())
	may, err := chat.RedisMembership{Redis: rdb}.MayStay(t.Context(), "party:p", players)
	require.NoError(t, err)
	for i := range may {
		require.Equal(t, i == 0 || i == 1499, may[i], i)
	}
	calls := rdb.Info(t.Context(), "commandstats").Val()
	require.Contains(t, calls, "cmdstat_smismember:calls=2,", "1,000 users are asked about at once")
}

// A Membership that can not tell takes nobody out: what was known holds.
func TestMembersStayDuringAnOutage(t *testing.T) {
	t.Parallel()
	r := newRooms()
	away := errors.New("away")
	m := &anyMembership{}
	s := chat.New(nil, r, chat.Config{Membership: m})
	t.Cleanup(s.Close)
	_, err := s.Join(t.Context(), ann, chat.Channel{Channel: "combat:7"})
	require.NoError(t, err)
	m.err = away
	require.ErrorIs(t, s.Rejudge(t.Context()), away)
	require.True(t, r.In(ann.Conn, "chat:combat:7"))
	m.err, m.refuses = nil, true
	require.NoError(t, s.Rejudge(t.Context()), "a Membership of another kind may know of any channel, also of a fight's")
	require.False(t, r.In(ann.Conn, "chat:combat:7"))
	require.Equal(t, []cast{{ann.Conn, "chat:left", chat.Removed{Channel: "combat:7", Code: "NOT_IN_CHANNEL"}}}, r.told)
}

// anyMembership is a Membership without MayStay.
type anyMembership struct {
	refuses bool
	err     error
}

func (m *anyMembership) MayJoin(context.Context, event.Player, string) (bool, error) {
	return !m.refuses, m.err
}
