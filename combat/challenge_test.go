package combat_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// heard returns the payloads of an event that a room received on these nodes.
func heard(name, room string, nodes ...arena) (all []any) {
	for _, n := range nodes {
		for _, c := range n.rooms.told() {
			if c.event == name && c.room == room {
				all = append(all, c.payload)
			}
		}
	}
	return all
}

// accept accepts a challenge.
func (a arena) accept(p event.Player, id string) (combat.State, error) {
	return a.Accept(context.Background(), p, combat.ChallengeAnswer{ChallengeID: id})
}

// decline declines a challenge.
func (a arena) decline(p event.Player, id string) error {
	_, err := a.Decline(context.Background(), p, combat.ChallengeAnswer{ChallengeID: id})
	return err
}

// combats returns the number of slots that hold something.
func (a arena) combats(t testing.TB, userID string) int {
	return int(a.rdb.ZCard(t.Context(), keys.UserCombats(userID)).Val())
}

// A fight needs the consent of both: combat:start sends a challenge for 30 seconds, which holds a
// slot of its sender and none of the receiver's. combat:accept begins the fight.
func TestAFightNeedsConsent(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	b := a.beside(t)
	sent := a.send(t, ann, "c-bob")
	require.EqualValues(t, 30_000, sent.ExpiresInMs)
	require.Equal(t, []any{combat.Challenge{
		ChallengeID: sent.ChallengeID, From: combat.Challenger{UserID: "ann", CharacterID: "c-ann", Name: "Ann"}, OpponentID: "c-bob", ExpiresInMs: 30_000,
	}}, heard("combat:challenged", "user:bob", a))
	require.Empty(t, heard("combat:started", "user:bob", a, b))
	require.Equal(t, 1, a.combats(t, "ann"))
	require.Zero(t, a.combats(t, "bob"))
	require.InDelta(t, 30*time.Second, a.rdb.PTTL(t.Context(), keys.CharacterChallenges("c-bob")).Val(), float64(2*time.Second))
	list, err := a.List(t.Context(), ann, event.None{})
	require.NoError(t, err)
	require.Empty(t, list.Combats)

	s, err := b.accept(bob, sent.ChallengeID)
	require.NoError(t, err)
	require.Equal(t, []string{"c-ann", "c-bob"}, []string{s.Participants[0].ID, s.Participants[1].ID})
	for _, room := range []string{"user:ann", "user:bob"} {
		started := heard("combat:started", room, a, b)
		require.Len(t, started, 1)
		require.Equal(t, sent.ChallengeID, started[0].(*combat.Started).ChallengeID)
		require.Equal(t, s.CombatID, started[0].(*combat.Started).CombatID)
	}
	require.Equal(t, []string{s.CombatID}, a.rdb.ZRange(t.Context(), keys.UserCombats("ann"), 0, -1).Val(), "the fight has the slot of the challenge")
	require.Equal(t, []string{s.CombatID}, a.rdb.ZRange(t.Context(), keys.UserCombats("bob"), 0, -1).Val())

	again, err := a.accept(bob, sent.ChallengeID)
	require.NoError(t, err, "another device of hers")
	require.Equal(t, s, again)
	require.Len(t, heard("combat:started", "user:ann", a, b), 1)
	require.ErrorIs(t, a.decline(bob, sent.ChallengeID), combat.ErrChallengeOver)
}

func TestAChallengeIsDeclined(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	sent := a.send(t, ann, "c-bob")
	_, err := a.Start(t.Context(), ann, combat.StartRequest{OpponentID: "c-bob"})
	require.ErrorIs(t, err, combat.ErrChallenged)
	require.Equal(t, sent.ChallengeID, fault.Of(err).Detail("challengeId"))
	require.Positive(t, fault.Of(err).Detail("expiresInMs"))
	require.Equal(t, 1, a.combats(t, "ann"), "the refused challenge holds no slot")

	require.ErrorIs(t, a.decline(eve, sent.ChallengeID), combat.ErrChallengeOver, "it is not hers")
	require.ErrorIs(t, a.decline(ann, sent.ChallengeID), combat.ErrChallengeOver)
	for range 2 {
		require.NoError(t, a.decline(bob, sent.ChallengeID))
	}
	for _, room := range []string{"user:ann", "user:bob"} {
		require.Equal(t, []any{combat.ChallengeCancelled{ChallengeID: sent.ChallengeID, Reason: "declined"}}, heard("combat:cancelled", room, a))
	}
	require.Zero(t, a.combats(t, "ann"))
	_, err = a.accept(bob, sent.ChallengeID)
	require.ErrorIs(t, err, combat.ErrChallengeOver)
	a.challenge(t, ann, "c-bob")
}

// A challenge is over after its time, and its sender's slot is free then.
func TestAChallengeExpires(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	cfg := a.config()
	cfg.ChallengeFor, cfg.MaxFights = 20*time.Millisecond, 1
	a.world = node(t, a.rdb, cfg)
	sent := a.send(t, ann, "c-bob")
	require.EqualValues(t, 20, sent.ExpiresInMs)
	eventually(t, "the end of the challenge", func() bool { return a.rdb.Exists(t.Context(), keys.CharacterChallenges("c-bob")).Val() == 0 })
	_, err := a.accept(bob, sent.ChallengeID)
	require.ErrorIs(t, err, combat.ErrChallengeOver)
	require.ErrorIs(t, a.decline(bob, sent.ChallengeID), combat.ErrChallengeOver)
	_, err = a.Start(t.Context(), ann, combat.StartRequest{NPC: "goblin"})
	require.ErrorIs(t, err, combat.ErrTooManyFights, "until a second has passed, for a clock that is behind")
	a.clock.advance(2 * time.Second)
	a.start(t, ann, "goblin")
}

// Five challenges of one sender are open at most, and those of others take nothing of the
// receiver's: ten strangers challenge bob, who still has five fights. An eleventh ends the oldest.
func TestStrangersTakeNothing(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	strangers := make([]event.Player, 12)
	a.people.more = map[string]string{}
	for i := range strangers {
		id := fmt.Sprintf("s%02d", i)
		strangers[i] = event.Player{UserID: id, Username: id, CharacterID: "c-" + id}
		a.people.more["c-"+id] = id
	}
	var sent []combat.Challenged
	for _, s := range strangers[:10] {
		sent = append(sent, a.send(t, s, "c-bob"))
		waitForNextMillisecond() // which of two is the oldest is known by the millisecond
	}
	for range 5 {
		a.start(t, bob, "training-dummy")
	}
	require.Empty(t, heard("combat:cancelled", "user:bob", a))
	_, err := a.accept(bob, sent[3].ChallengeID)
	require.ErrorIs(t, err, combat.ErrTooManyFights, "these are bob's own")
	require.Equal(t, 5, fault.Of(err).Detail("limit"))

	for i := range 5 {
		a.send(t, strangers[10], fmt.Sprintf("c-s%02d", i))
	}
	_, err = a.Start(t.Context(), strangers[10], combat.StartRequest{OpponentID: "c-bob"})
	require.ErrorIs(t, err, combat.ErrTooManyFights, "who has sent five replaces nobody's")
	require.Empty(t, heard("combat:cancelled", "user:bob", a))

	eleventh := a.send(t, strangers[11], "c-bob")
	over := []any{combat.ChallengeCancelled{ChallengeID: sent[0].ChallengeID, Reason: "replaced"}}
	require.Equal(t, over, heard("combat:cancelled", "user:bob", a))
	require.Equal(t, over, heard("combat:cancelled", "user:s00", a))
	require.Zero(t, a.combats(t, "s00"), "its sender's slot is free")
	_, err = a.accept(bob, sent[0].ChallengeID)
	require.ErrorIs(t, err, combat.ErrChallengeOver)

	running, err := a.List(t.Context(), bob, event.None{})
	require.NoError(t, err)
	require.Len(t, running.Combats, 5)
	_, err = a.act(bob, running.Combats[0].CombatID, "flee")
	require.NoError(t, err)
	_, err = a.accept(bob, sent[3].ChallengeID)
	require.NoError(t, err, "the challenge stayed open")
	require.NoError(t, a.decline(bob, eleventh.ChallengeID))
}

func waitForNextMillisecond() {
	for now := time.Now().UnixMilli(); time.Now().UnixMilli() == now; {
		time.Sleep(100 * time.Microsecond)
	}
}

// What may have happened to the challenger before the acceptance.
func TestAChallengerWhoIsGone(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	sent := a.send(t, ann, "c-bob")
	a.people.offline["ann"] = true // left, logged out, disconnected: no connection
	_, err := a.accept(bob, sent.ChallengeID)
	require.ErrorIs(t, err, combat.ErrOpponentUnavailable)
	for _, room := range []string{"user:ann", "user:bob"} {
		require.Equal(t, []any{combat.ChallengeCancelled{ChallengeID: sent.ChallengeID, Reason: "left"}}, heard("combat:cancelled", room, a))
	}
	require.Zero(t, a.combats(t, "ann"))
	require.Zero(t, a.combats(t, "bob"))
	require.Zero(t, a.rdb.Exists(t.Context(), keys.CombatPair("c-ann", "c-bob")).Val())
	a.people.offline["ann"] = false
	_, err = a.accept(bob, sent.ChallengeID)
	require.ErrorIs(t, err, combat.ErrChallengeOver)

	// Both challenge each other: one fight at a time.
	one, two := a.send(t, ann, "c-bob"), a.send(t, bob, "c-ann")
	s, err := a.accept(bob, one.ChallengeID)
	require.NoError(t, err)
	_, err = a.accept(ann, two.ChallengeID)
	require.ErrorIs(t, err, combat.ErrAlreadyFighting)
	require.Equal(t, s.CombatID, fault.Of(err).Detail("combatId"))
	_, err = a.act(ann, s.CombatID, "flee")
	require.NoError(t, err)
	for a.state(t, s.CombatID).Status == combat.Active {
		a.clock.advance(time.Second)
		_, err = a.act(ann, s.CombatID, "flee")
		require.NoError(t, err)
	}
	_, err = a.accept(ann, two.ChallengeID)
	require.NoError(t, err, "the other challenge is still open")
}

// Of all devices that accept and decline at the same time, on two nodes, one decides.
func TestAChallengeIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	for range 10 {
		require.NoError(t, rdb.FlushDB(t.Context()).Err())
		a := newArena(t, rdb)
		nodes := []arena{a, a.beside(t)}
		sent := a.send(t, ann, "c-bob")
		var mu sync.Mutex
		fights := map[string]bool{}
		var declined atomic.Int32
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				n := nodes[i%2]
				if i%4 == 3 {
					if err := n.decline(bob, sent.ChallengeID); err == nil {
						declined.Add(1)
					} else if !errors.Is(err, combat.ErrChallengeOver) {
						t.Error(err)
					}
					return
				}
				s, err := n.accept(bob, sent.ChallengeID)
				for errors.Is(err, fault.ErrLocked) {
					s, err = n.accept(bob, sent.ChallengeID)
				}
				switch {
				case err == nil:
					mu.Lock()
					fights[s.CombatID] = true
					mu.Unlock()
				case !errors.Is(err, combat.ErrChallengeOver):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if declined.Load() > 0 {
			require.Empty(t, fights)
			require.Zero(t, a.combats(t, "bob"))
		} else {
			require.Len(t, fights, 1)
			require.Equal(t, 1, a.combats(t, "bob"))
		}
		require.Len(t, heard("combat:started", "user:ann", nodes...), len(fights))
		require.Equal(t, len(fights), a.combats(t, "ann"))
	}
}

// A player who lets all in is not asked, until they change it.
func TestOpenDuels(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	read := func() bool {
		out, err := a.SetDuels(t.Context(), bob, combat.DuelsRequest{})
		require.NoError(t, err)
		return out.Open
	}
	require.False(t, read())
	a.letIn(t, bob)
	require.True(t, read())
	out, err := a.Start(t.Context(), ann, combat.StartRequest{OpponentID: "c-bob"})
	require.NoError(t, err)
	require.Nil(t, out.Challenged)
	require.Equal(t, combat.Active, out.Status)
	require.Len(t, heard("combat:started", "user:bob", a), 1)
	require.NoError(t, a.ask(t, bob, "combat:duels", `{"open":false}`))
	require.False(t, read())
	require.Zero(t, a.rdb.Exists(t.Context(), keys.UserDuels("bob")).Val())
	a.send(t, eve, "c-bob")
}

// ignorers are users who ignore others: "bob ann" says that bob ignores ann.
type ignorers map[string]bool

func (i ignorers) Ignores(_ context.Context, userID, otherID string) (bool, error) {
	return i[userID+" "+otherID], nil
}

// The challenge of somebody whom the receiver ignores looks to its sender like one that nobody
// answers, also when the receiver lets all others in. The receiver is told nothing.
func TestWhoIsIgnoredIsNotHeard(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	cfg := a.config()
	cfg.Ignores = ignorers{"bob ann": true}
	a.world = node(t, a.rdb, cfg)
	a.letIn(t, bob)
	sent := a.send(t, ann, "c-bob")
	require.EqualValues(t, 30_000, sent.ExpiresInMs)
	require.Equal(t, 1, a.combats(t, "ann"), "it counts against its sender")
	_, err := a.Start(t.Context(), ann, combat.StartRequest{OpponentID: "c-bob"})
	require.ErrorIs(t, err, combat.ErrChallenged)
	_, err = a.accept(bob, sent.ChallengeID)
	require.ErrorIs(t, err, combat.ErrChallengeOver)
	a.notified(t, bob)
	require.Empty(t, a.rooms.told())
	_, err = a.Start(t.Context(), eve, combat.StartRequest{OpponentID: "c-bob"})
	require.NoError(t, err)
	require.Len(t, heard("combat:started", "user:bob", a), 1)
}

// notified runs a Notifier until it has served a player who connects. A second player, who is
// challenged for that, shows that the first was served.
func (a arena) notified(t testing.TB, p event.Player, recovered ...bool) {
	t.Helper()
	last := event.Player{UserID: "last", CharacterID: "c-last"}
	a.people.more = map[string]string{"c-last": "last"}
	sent := a.send(t, eve, "c-last")
	n := combat.NewNotifier(a.Service)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { _ = n.Run(ctx) })
	before := len(heard("combat:challenged", "user:last", a))
	isRecovered := len(recovered) > 0 && recovered[0]
	if isRecovered {
		n.Recovered(p, nil)
	} else {
		n.Connected(p)
	}
	n.Connected(last)
	eventually(t, "the challenges", func() bool { return len(heard("combat:challenged", "user:last", a)) > before })
	stop()
	wg.Wait()
	require.NoError(t, a.decline(last, sent.ChallengeID))
	a.rooms.forget("user:last", "user:eve")
}

// A player who was away for a moment is told of open challenges when they are back, on any node.
func TestWhoComesBackIsToldOfChallenges(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	one, two := a.send(t, ann, "c-bob"), a.send(t, eve, "c-bob")
	require.NoError(t, a.decline(bob, two.ChallengeID))
	b := a.beside(t)
	b.notified(t, bob, true)
	require.Empty(t, heard("combat:challenged", "user:bob", b), "who goes on with a connection has heard it, or it is sent again")
	b.notified(t, bob)
	again := heard("combat:challenged", "user:bob", b)
	require.Len(t, again, 1)
	told := again[0].(combat.Challenge)
	require.Equal(t, one.ChallengeID, told.ChallengeID)
	require.Equal(t, combat.Challenger{UserID: "ann", CharacterID: "c-ann", Name: "Ann"}, told.From)
	require.Positive(t, told.ExpiresInMs)
	require.LessOrEqual(t, told.ExpiresInMs, int64(30_000))
	_, err := b.accept(bob, told.ChallengeID)
	require.NoError(t, err)
	b.rooms.forget("user:bob")
	b.notified(t, bob)
	require.Empty(t, heard("combat:challenged", "user:bob", b))
}

// A node dies at any command of a challenge with an idempotency key: one challenge is sent, and it
// holds one slot.
func TestAChallengeIsSentOnceWhateverDies(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	cfg := combat.Config{MaxFights: 2, Characters: &people{}}
	request := combat.StartRequest{OpponentID: "c-bob", IdempotencyKey: "k"}
	everyDeath(t, rdb, cfg, func(dies, lives world) {
		ctx, _ := claimed(t, rdb, "combat:start", keys.CharacterChallenges("c-bob"), "one", nil)
		first, firstErr := dies.Start(ctx, ann, request)
		var again combat.Challenged
		ctx, isAnswered := claimed(t, rdb, "combat:start", keys.CharacterChallenges("c-bob"), "two", &again)
		if !isAnswered {
			out, err := lives.Start(ctx, ann, request)
			require.NoError(t, err)
			require.True(t, event.ClaimOf(ctx).IsRecorded())
			again = *out.Challenged
		}
		if firstErr == nil {
			require.Equal(t, first.Challenged, &again)
		}
		require.EqualValues(t, 30_000, again.ExpiresInMs)
		require.Equal(t, []string{again.ChallengeID}, rdb.HKeys(t.Context(), keys.CharacterChallenges("c-bob")).Val())
		require.Equal(t, []string{again.ChallengeID}, rdb.ZRange(t.Context(), keys.UserCombats("ann"), 0, -1).Val())
		_, err := lives.Accept(t.Context(), bob, combat.ChallengeAnswer{ChallengeID: again.ChallengeID})
		require.NoError(t, err)
	})
}

// A node dies at any command of an acceptance. Another one goes on as soon as the first counts as
// dead, or the challenge is open again; there is one fight, which holds one slot of each.
func TestAChallengeIsAcceptedOnceWhateverDies(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	cfg := combat.Config{MaxFights: 1, Characters: &people{}}
	everyDeath(t, rdb, cfg, func(dies, lives world) {
		out, err := lives.Start(t.Context(), ann, combat.StartRequest{OpponentID: "c-bob"})
		require.NoError(t, err)
		accept := combat.ChallengeAnswer{ChallengeID: out.ChallengeID}
		first, firstErr := dies.Accept(t.Context(), bob, accept)
		again, err := lives.Accept(t.Context(), bob, accept)
		if errors.Is(err, fault.ErrLocked) { // the first may still be at it
			backdate(t, rdb, "c-bob", out.ChallengeID, 7*time.Second)
			again, err = lives.Accept(t.Context(), bob, accept)
		}
		require.NoError(t, err)
		if firstErr == nil {
			require.Equal(t, first, again)
		}
		fights := rdb.Keys(t.Context(), "combat:*:state").Val()
		require.Equal(t, []string{keys.Combat(again.CombatID)}, fights)
		for _, user := range []string{"ann", "bob"} {
			require.Equal(t, []string{again.CombatID}, rdb.ZRange(t.Context(), keys.UserCombats(user), 0, -1).Val())
		}
		_, err = lives.act(ann, again.CombatID, "defend")
		require.NoError(t, err)
	})
}

// backdate makes an accepted challenge older.
func backdate(t testing.TB, rdb redis.UniversalClient, character, id string, by time.Duration) {
	t.Helper()
	key := keys.CharacterChallenges(character)
	text := rdb.HGet(context.Background(), key, id).Val()
	var state string
	var until int64
	_, err := fmt.Sscanf(text, "%s %d", &state, &until)
	require.NoError(t, err)
	require.Equal(t, "A", state)
	old := fmt.Sprintf("%s %d", state, until)
	require.NoError(t, rdb.HSet(context.Background(), key, id, fmt.Sprintf("%s %d", state, until-by.Milliseconds())+text[len(old):]).Err())
}

// An acceptance whose node died long ago is over: its fight can not be written any more.
func TestAnOldAcceptanceIsOver(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	sent := a.send(t, ann, "c-bob")
	d := &dying{at: 2} // after the challenge was accepted
	_, err := dyingNode(t, a.rdb, d, a.config()).Accept(t.Context(), bob, combat.ChallengeAnswer{ChallengeID: sent.ChallengeID})
	require.Error(t, err)
	_, err = a.accept(bob, sent.ChallengeID)
	require.ErrorIs(t, err, fault.ErrLocked)
	backdate(t, a.rdb, "c-bob", sent.ChallengeID, 9*time.Second)
	_, err = a.accept(bob, sent.ChallengeID)
	require.ErrorIs(t, err, combat.ErrChallengeOver)
	require.Empty(t, a.rdb.Keys(t.Context(), "combat:*:state").Val())
}
