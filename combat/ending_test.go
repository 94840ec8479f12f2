package combat_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
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

// run runs the Run of a node until the test ends.
func (a arena) run(t testing.TB) {
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		wg.Wait()
	})
}

// quick returns another node, which sweeps all the time.
func (a arena) quick(t testing.TB, rdb redis.UniversalClient) arena {
	cfg := a.config()
	cfg.SweepInterval = 2 * time.Millisecond
	a.world = node(t, rdb, cfg)
	return a
}

// endings returns the endings of a fight that the nodes have sent.
func endings(id string, nodes ...arena) (all []combat.Ending) {
	for _, n := range nodes {
		for _, c := range n.rooms.told() {
			if e, is := c.payload.(combat.Ending); is && c.room == "combat:"+id {
				all = append(all, e)
			}
		}
	}
	return all
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 20*time.Second, 2*time.Millisecond, what)
}

// A fight in which nobody moves ends once, on the node that sweeps first, without a winner. A fight
// in which somebody moves goes on.
func TestAnAbandonedFightEnds(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	home := newArena(t, rdb)
	nodes := []arena{home.quick(t, rdb), home.quick(t, rdb), home.quick(t, rdb)}
	npc := home.start(t, ann, "goblin").CombatID
	duel := home.challenge(t, ann, "c-bob").CombatID
	played := home.start(t, bob, "training-dummy").CombatID
	for _, n := range nodes {
		n.run(t)
	}
	home.clock.advance(90 * time.Second)
	_, err := home.act(bob, played, "attack")
	require.NoError(t, err)
	home.clock.advance(40 * time.Second)

	for _, id := range []string{npc, duel} {
		eventually(t, "the end", func() bool { return len(endings(id, nodes...)) > 0 })
		require.Equal(t, []combat.Ending{{CombatID: id, Outcome: combat.Abandoned, Rewards: combat.Rewards{Items: []combat.Item{}}, Version: 2}}, endings(id, nodes...))
		s := home.state(t, id)
		require.Equal(t, combat.Ended, s.Status)
		require.Equal(t, combat.Abandoned, s.Outcome)
		require.Empty(t, s.Winner)
		_, err := home.act(ann, id, "attack")
		require.ErrorIs(t, err, combat.ErrFightOver)
		_, err = combat.Verify(t.Context(), rdb, id)
		require.NoError(t, err, "the log replays to the abandoned fight")
	}
	updates := 0
	for _, n := range nodes {
		for _, c := range n.rooms.told() {
			if u, is := c.payload.(*combat.Update); is && c.room == "user:bob" {
				require.Equal(t, combat.Event{Turn: 1, Action: "timeout", Acts: []combat.Act{}}, u.Event)
				updates++
			}
		}
	}
	require.Equal(t, 1, updates)
	require.Equal(t, combat.Active, home.state(t, played).Status)
	running, err := home.List(t.Context(), ann, event.None{})
	require.NoError(t, err)
	require.Empty(t, running.Combats)

	home.clock.advance(3 * time.Minute)
	eventually(t, "the end of the last", func() bool { return home.rdb.Exists(t.Context(), keys.CombatDeadlines).Val() == 0 })
	require.Equal(t, combat.Ended, home.state(t, played).Status)
	require.Empty(t, home.bank.paid)
}

// If the node that played the last move dies before it has settled the fight, another node settles
// it.
func TestAnotherNodeSettles(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	home := newArena(t, rdb)
	id := home.challenge(t, ann, "c-bob").CombatID
	dying := home // it can no longer reach those who pay
	cfg := home.config()
	failed := 0
	cfg.Report = func(error) { failed++ }
	cfg.Rewarder, cfg.Scorer = broken{}, broken{}
	dying.world = node(t, rdb, cfg)
	end := turns(t, id, dying, dying)
	require.Equal(t, combat.Defeated, end.Outcome)
	require.Positive(t, failed)
	require.Empty(t, endings(id, dying))
	require.Empty(t, home.bank.paid)

	other, third := home.quick(t, rdb), home.quick(t, rdb)
	other.run(t)
	third.run(t)
	require.Never(t, func() bool { return len(endings(id, other, third)) > 0 }, 50*time.Millisecond, 5*time.Millisecond, "other nodes wait for settleTimeout before they settle the fight")
	home.clock.advance(6 * time.Second)
	eventually(t, "the end", func() bool { return len(endings(id, other, third)) > 0 })
	require.Equal(t, []combat.Ending{{CombatID: id, Winner: end.Winner, Outcome: combat.Defeated, Rewards: combat.Rewards{Items: []combat.Item{}, Gold: 10}, Version: end.Version}}, endings(id, other, third))
	require.Len(t, home.bank.paid, 1)
	require.Len(t, home.bank.scored, 1)
	require.Equal(t, 1, home.bank.calls)
	eventually(t, "the deadline to go", func() bool { return home.rdb.Exists(t.Context(), keys.CombatDeadlines).Val() == 0 })
}

// broken fails to pay and to count.
type broken struct{}

var errBroken = errors.New("broken")

func (broken) Reward(context.Context, string, string, combat.Rewards) error { return errBroken }
func (broken) Score(context.Context, combat.Victory) error                  { return errBroken }

func TestWhenRewardsFail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   error
		again bool
	}{
		"for a while":  {fault.Unavailable("trade", time.Second, nil), true},
		"somehow":      {errBroken, true},
		"for too long": {fault.ErrTimeout, true},
		"for good":     {fault.New("TRADE_OVERFLOW", "Full."), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Client(t)
			var reported []error
			a := newArena(t, rdb)
			cfg := a.config()
			cfg.Report = func(err error) { reported = append(reported, err) }
			a.world = node(t, rdb, cfg)
			id := a.challenge(t, ann, "c-bob").CombatID
			a.bank.set(c.err)
			end := turns(t, id, a, a)
			require.Len(t, reported, 1)
			require.ErrorIs(t, reported[0], c.err)
			require.Empty(t, a.bank.paid)
			if !c.again {
				require.Equal(t, []combat.Ending{{CombatID: id, Winner: end.Winner, Outcome: combat.Defeated, Rewards: combat.Rewards{Items: []combat.Item{}}, Version: end.Version}}, endings(id, a))
				require.Zero(t, a.rdb.Exists(t.Context(), keys.CombatDeadlines).Val())
				return
			}
			require.Empty(t, endings(id, a), "combat:ended is sent only after the payment")
			require.Greater(t, a.rdb.PTTL(t.Context(), keys.Combat(id)).Val(), time.Hour, "Redis keeps the fight for long while the winner is not paid")
			b := a.quick(t, rdb)
			b.run(t)
			a.bank.set(nil)
			a.clock.advance(6 * time.Second)
			eventually(t, "the end", func() bool { return len(endings(id, b)) == 1 })
			require.Equal(t, map[string]combat.Rewards{"combat:" + id + " " + end.Winner: {Items: []combat.Item{}, Gold: 10}}, a.bank.paid)
		})
	}
}

// fullBoard is a leaderboard that cannot count more points.
type fullBoard struct{ *bank }

var errScoreLimit = fault.New("SCORE_LIMIT", "Full.")

func (fullBoard) Score(context.Context, combat.Victory) error {
	return fmt.Errorf("victory: %w", errScoreLimit)
}

// A victory that can never be counted is reported once, and the winner is paid.
func TestAVictoryThatCanNotBeCounted(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	a := newArena(t, rdb)
	var reported []error
	cfg := a.config()
	cfg.Report = func(err error) { reported = append(reported, err) }
	cfg.Scorer = fullBoard{a.bank}
	a.world = node(t, rdb, cfg)
	id := a.challenge(t, ann, "c-bob").CombatID
	end := turns(t, id, a, a)
	require.Len(t, reported, 1)
	require.ErrorIs(t, reported[0], errScoreLimit)
	require.Equal(t, []combat.Ending{{CombatID: id, Winner: end.Winner, Outcome: combat.Defeated, Rewards: combat.Rewards{Items: []combat.Item{}, Gold: 10}, Version: end.Version}}, endings(id, a))
	require.Len(t, a.bank.paid, 1)
	require.Zero(t, rdb.Exists(t.Context(), keys.CombatDeadlines).Val(), "nothing is left to repeat")
}

// A start that fails can leave a deadline without a fight. The sweep removes it.
func TestADeadlineWithoutAFight(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	a := newArena(t, rdb)
	id := a.start(t, ann, "goblin").CombatID
	require.NoError(t, rdb.Del(t.Context(), keys.Combat(id)).Err())
	a.quick(t, rdb).run(t)
	a.clock.advance(3 * time.Minute)
	eventually(t, "the deadline to go", func() bool { return rdb.Exists(t.Context(), keys.CombatDeadlines).Val() == 0 })
}

// The sweep works again when Redis comes back.
func TestSweepingSurvivesAnOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t, "--save", "", "--appendonly", "yes")
	home := newArena(t, server.Client())
	a := home.quick(t, server.Client())
	id := home.start(t, ann, "goblin").CombatID
	server.Kill()
	a.run(t)
	home.clock.advance(3 * time.Minute)
	server.Restart()
	eventually(t, "the end", func() bool { return len(endings(id, a)) == 1 })
}
