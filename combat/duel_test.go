package combat_test

import (
	"context"
	"errors"
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

// people has the characters of the game, and who is online. When err is set, every method returns
// it.
type people struct {
	mu      sync.Mutex
	offline map[string]bool
	more    map[string]string // more characters, with their users
	err     error
}

func (p *people) Character(_ context.Context, id string) (combat.Character, error) {
	users := map[string]string{"c-ann": "ann", "c-ann-2": "ann", "c-bob": "bob", "c-eve": "eve"}
	if p.err != nil {
		return combat.Character{}, p.err
	}
	user, ok := users[id]
	if !ok {
		user, ok = p.more[id]
	}
	if !ok {
		return combat.Character{}, fault.ErrNotFound
	}
	return combat.Character{UserID: user, Name: "The " + user, Stats: combat.Stats{MaxHP: 50, MaxEnergy: 40, Attack: 20, Defense: 8, Speed: 10}}, nil
}

func (p *people) Online(_ context.Context, user string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.offline[user], p.err
}

// bank pays rewards and counts victories, each key once.
type bank struct {
	mu     sync.Mutex
	paid   map[string]combat.Rewards // by key and character; guarded by mu
	scored map[string]combat.Victory // by key; guarded by mu
	calls  int                       // guarded by mu
	fail   error                     // when it is set, every method returns it; guarded by mu
}

func newBank() *bank {
	return &bank{paid: map[string]combat.Rewards{}, scored: map[string]combat.Victory{}}
}

func (b *bank) Reward(_ context.Context, key, character string, won combat.Rewards) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.fail == nil {
		b.paid[key+" "+character] = won
	}
	return b.fail
}

func (b *bank) Score(_ context.Context, v combat.Victory) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.scored[v.Key] = v
	return nil
}

func (b *bank) set(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = err
}

// clock is a clock that tests advance.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(time.Now().UnixMilli())
	return c
}

func (c *clock) now() time.Time           { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(by time.Duration) { c.ms.Add(by.Milliseconds()) }

// arena is a node of a game in which players fight each other, with a clock of its own.
type arena struct {
	world
	people *people
	bank   *bank
	clock  *clock
}

func newArena(t testing.TB, rdb redis.UniversalClient) arena {
	a := arena{people: &people{offline: map[string]bool{}}, bank: newBank(), clock: newClock()}
	a.world = node(t, rdb, a.config())
	return a
}

func (a arena) config() combat.Config {
	return combat.Config{Characters: a.people, Presence: a.people, Rewarder: a.bank, Scorer: a.bank, Now: a.clock.now}
}

// beside returns another node of the same game.
func (a arena) beside(t testing.TB) arena {
	a.world = node(t, a.rdb, a.config())
	return a
}

// eve is a third player.
var eve = event.Player{UserID: "eve", Username: "Eve", CharacterID: "c-eve", Conn: "conn-eve"}

// send sends a challenge.
func (a arena) send(t testing.TB, p event.Player, opponent string) combat.Challenged {
	t.Helper()
	s, err := a.Start(context.Background(), p, combat.StartRequest{OpponentID: opponent})
	require.NoError(t, err)
	require.Nil(t, s.State)
	return *s.Challenged
}

// challenge sends a challenge, which the opponent accepts.
func (a arena) challenge(t testing.TB, p event.Player, opponent string) combat.State {
	t.Helper()
	sent := a.send(t, p, opponent)
	other := map[string]event.Player{"c-ann": ann, "c-bob": bob, "c-eve": eve}[opponent]
	s, err := a.Accept(context.Background(), other, combat.ChallengeAnswer{ChallengeID: sent.ChallengeID})
	require.NoError(t, err)
	return s
}

// letIn opens the duels of players.
func (w world) letIn(t testing.TB, players ...event.Player) {
	t.Helper()
	for _, p := range players {
		out, err := w.SetDuels(context.Background(), p, combat.DuelsRequest{Open: new(true)})
		require.NoError(t, err)
		require.True(t, out.Open)
	}
}

// turns lets ann and bob strike in turns, each on their node, until one is dead. It returns the
// last state.
func turns(t testing.TB, id string, one, two arena) combat.State {
	t.Helper()
	for i := 0; ; i++ {
		a, p := one, ann
		if i%2 == 1 {
			a, p = two, bob
		}
		out, err := a.act(p, id, "attack")
		require.NoError(t, err)
		if out.State.Status == combat.Ended {
			return out.State
		}
		a.clock.advance(250 * time.Millisecond)
	}
}

func TestTwoPlayersFight(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	b := a.beside(t)
	s := a.challenge(t, ann, "c-bob")
	require.Equal(t, []string{"c-ann", "c-bob"}, []string{s.Participants[0].ID, s.Participants[1].ID})
	require.Equal(t, []string{"ann", "bob"}, []string{s.Participants[0].UserID, s.Participants[1].UserID})
	require.Equal(t, "Bob", s.Participants[1].Name)
	require.Equal(t, 50, s.Participants[0].MaxHP, "stats come from the source")

	end := turns(t, s.CombatID, a, b)
	loser := map[string]string{"c-ann": "c-bob", "c-bob": "c-ann"}[end.Winner]
	for _, p := range end.Participants {
		require.Equal(t, p.ID == loser, p.HP == 0)
	}

	// All devices of both receive it; a connection that is in the room receives it once.
	room, versions := "combat:"+s.CombatID, map[string][]int64{}
	for _, c := range append(a.rooms.told(), b.rooms.told()...) {
		if c.event == "combat:challenged" {
			continue
		}
		if c.room != room {
			require.Equal(t, room, c.except)
		}
		switch u := c.payload.(type) {
		case *combat.Started:
			require.Equal(t, s.CombatID, u.CombatID)
			versions[c.room] = append(versions[c.room], u.State.Version)
		case *combat.Update:
			versions[c.room] = append(versions[c.room], u.State.Version)
		case combat.Ending:
			require.Equal(t, combat.Ending{
				CombatID: s.CombatID, Winner: end.Winner, Outcome: combat.Defeated, Rewards: combat.Rewards{Items: []combat.Item{}, Gold: 10}, Version: end.Version,
			}, u)
			versions[c.room] = append(versions[c.room], -1)
		}
	}
	require.Len(t, versions, 3)
	for _, heard := range []string{room, "user:ann", "user:bob"} {
		require.Len(t, versions[heard], int(end.Version)+1, heard)
	}
	require.Equal(t, map[string]combat.Rewards{room + " " + end.Winner: {Items: []combat.Item{}, Gold: 10}}, a.bank.paid)
	require.EqualValues(t, 10, a.bank.scored[room].Points)
	require.Equal(t, end.Winner, a.bank.scored[room].ID)
	require.Equal(t, end.UpdatedAt, a.bank.scored[room].At.UnixMilli())

	for _, p := range []event.Player{ann, bob} {
		none, err := a.List(t.Context(), p, event.None{})
		require.NoError(t, err)
		require.Empty(t, none.Combats, "the slots of both are free again")
	}
	require.Zero(t, a.rdb.Exists(t.Context(), keys.CombatDeadlines, keys.CombatPair("c-ann", "c-bob")).Val())
	a.challenge(t, bob, "c-ann")
	_, err := combat.Verify(t.Context(), a.rdb, s.CombatID)
	require.NoError(t, err, "the log leads to the end")
}

func TestWhoMoves(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	id := a.challenge(t, ann, "c-bob").CombatID
	_, err := a.act(ann, id, "attack")
	require.NoError(t, err)
	a.clock.advance(100 * time.Millisecond)
	_, err = a.act(ann, id, "attack")
	require.ErrorIs(t, err, combat.ErrTooSoon)
	require.EqualValues(t, 400, fault.Of(err).Detail("retryAfterMs"))
	_, err = a.act(bob, id, "defend")
	require.NoError(t, err, "one player's wait does not hold up the other")
	_, err = a.act(eve, id, "attack")
	require.ErrorIs(t, err, fault.ErrForbidden)
	a.clock.advance(400 * time.Millisecond)
	_, err = a.act(ann, id, "attack")
	require.NoError(t, err)

	// The user who plays the character fights, even if the source names another owner.
	a.clock.advance(100 * time.Millisecond)
	guest := event.Player{UserID: "somebody", CharacterID: "c-bob", Conn: "conn-guest"}
	_, err = a.act(guest, id, "attack")
	require.NoError(t, err)
	_, err = a.State(t.Context(), guest, combat.StateRequest{CombatID: id})
	require.NoError(t, err)
	require.True(t, a.rooms.has("conn-guest", "combat:"+id), "the guest joins the room, because the room user:bob is another user's")
	_, err = a.State(t.Context(), bob, combat.StateRequest{CombatID: id})
	require.NoError(t, err)
	require.False(t, a.rooms.has(bob.Conn, "combat:"+id), "bob receives the events through the room of his devices")
}

func TestChallengesThatAreRefused(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	a.people.offline["eve"] = true
	running := a.challenge(t, ann, "c-bob").CombatID
	for name, c := range map[string]struct {
		who              event.Player
		opponent, code   string
		detail, expected any
	}{
		"oneself":              {ann, "c-ann", "INVALID", "field", "opponentId"},
		"one's other self":     {ann, "c-ann-2", "INVALID", "field", "opponentId"},
		"nobody":               {ann, "c-nobody", "NOT_FOUND", "field", nil},
		"one who is away":      {ann, "c-eve", "COMBAT_OPPONENT_UNAVAILABLE", "retryAfterMs", int64(5000)},
		"the same again":       {ann, "c-bob", "COMBAT_ALREADY", "combatId", running},
		"the same, other side": {bob, "c-ann", "COMBAT_ALREADY", "combatId", running},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := a.Start(t.Context(), c.who, combat.StartRequest{OpponentID: c.opponent})
			require.Equal(t, c.code, fault.Of(err).Code, err)
			require.Equal(t, c.expected, fault.Of(err).Detail(c.detail.(string)))
		})
	}
	a.people.offline["eve"] = false
	a.people.err = fault.Unavailable("profiles", time.Second, errors.New("gone"))
	_, err := a.Start(t.Context(), ann, combat.StartRequest{OpponentID: "c-eve"})
	require.ErrorIs(t, err, fault.ErrUnavailable)
}

// A player who lets all in but has no free slot is left alone, and the refused start leaves nothing
// behind.
func TestAFullOpponentIsLeftAlone(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	a.letIn(t, bob)
	for range 5 {
		a.start(t, bob, "training-dummy")
	}
	_, err := a.Start(t.Context(), ann, combat.StartRequest{OpponentID: "c-bob"})
	require.ErrorIs(t, err, combat.ErrOpponentUnavailable)
	require.Zero(t, a.rdb.Exists(t.Context(), keys.UserCombats("ann"), keys.CombatPair("c-ann", "c-bob")).Val())
	a.challenge(t, ann, "c-eve")
}

// The next start removes what a failed start has left behind.
func TestAPairThatWasNotPartedIsFound(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	id := a.challenge(t, ann, "c-bob").CombatID
	require.NoError(t, a.rdb.Del(t.Context(), keys.Combat(id)).Err())
	_, err := a.Start(t.Context(), ann, combat.StartRequest{OpponentID: "c-bob"})
	require.ErrorIs(t, err, combat.ErrAlreadyFighting, "it may only not be written yet")
	a.clock.advance(time.Minute)
	a.challenge(t, ann, "c-bob")
}

// Of many starts at the same time, when both let all in, from both players and on two nodes, only
// one starts a fight.
func TestAPairFightsOnceAtATime(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	b := a.beside(t)
	a.letIn(t, ann, bob)
	var begun atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			w, p, opponent := a, ann, "c-bob"
			if i%2 == 1 {
				w, p, opponent = b, bob, "c-ann"
			}
			switch _, err := w.Start(t.Context(), p, combat.StartRequest{OpponentID: opponent}); {
			case err == nil:
				begun.Add(1)
			case !errors.Is(err, combat.ErrAlreadyFighting):
				t.Errorf("start: %v", err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, begun.Load())
	for _, p := range []event.Player{ann, bob} {
		running, err := a.List(t.Context(), p, event.None{})
		require.NoError(t, err)
		require.Len(t, running.Combats, 1)
	}
}

// A player who lost the connection lists the running fights, and receives their events again.
func TestOneMayFindTheirFightsAgain(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	npc := a.start(t, bob, "goblin")
	a.clock.advance(time.Second)
	duel := a.challenge(t, ann, "c-bob")
	back := bob
	back.Conn = "conn-bob-2"
	running, err := a.List(t.Context(), back, event.None{})
	require.NoError(t, err)
	require.Len(t, running.Combats, 2)
	require.Equal(t, []string{npc.CombatID, duel.CombatID}, []string{running.Combats[0].CombatID, running.Combats[1].CombatID})
	require.True(t, a.rooms.has(back.Conn, "combat:"+npc.CombatID))
	_, err = a.act(back, duel.CombatID, "attack")
	require.NoError(t, err)
	require.ErrorIs(t, a.ask(t, back, "combat:list", `{"x":1}`), fault.ErrInvalid)
}
