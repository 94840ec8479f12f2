package combat_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// Of the victories of the same two characters in one UTC day, whoever wins and whoever started the
// fight, five are paid and counted. The sixth is not, and its ending says so.
func TestFiveVictoriesOfTwoArePaidInADay(t *testing.T) {
	t.Parallel()
	a := newArena(t, redistest.Client(t))
	noon := time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)
	a.clock.ms.Store(noon.UnixMilli())
	fight := func(wantUnpaid bool) {
		t.Helper()
		id := a.challenge(t, ann, "c-bob").CombatID
		end := turns(t, id, a, a)
		require.Equal(t, combat.Defeated, end.Outcome)
		want := combat.Ending{
			CombatID: id, Winner: end.Winner, Outcome: combat.Defeated, Rewards: combat.Rewards{Items: []combat.Item{}, Gold: 10}, Version: end.Version,
		}
		if wantUnpaid {
			want.Rewards.Gold, want.Unpaid = 0, true
		}
		require.Equal(t, []combat.Ending{want}, endings(id, a))
	}
	for range 5 {
		fight(false)
	}
	for range 2 {
		fight(true)
	}
	require.Len(t, a.bank.paid, 5)
	require.Len(t, a.bank.scored, 5)
	key := keys.CombatPaid("c-bob", "c-ann", "2030-06-01")
	require.EqualValues(t, 5, a.rdb.SCard(t.Context(), key).Val())
	require.InDelta(t, 72*time.Hour, a.rdb.PTTL(t.Context(), key).Val(), float64(time.Minute))

	// Another opponent is not concerned, and the next day begins at 00:00 UTC.
	id := a.challenge(t, ann, "c-eve").CombatID
	_, err := a.act(ann, id, "flee")
	require.NoError(t, err)
	a.clock.ms.Store(time.Date(2030, 6, 2, 0, 0, 1, 0, time.UTC).UnixMilli())
	fight(false)
}

// A settlement that failed and is repeated finds the decision of the first, also when the day's
// last place is taken.
func TestARepeatedSettlementIsPaidOnce(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	a := newArena(t, rdb)
	key := keys.CombatPaid("c-ann", "c-bob", a.clock.now().UTC().Format(time.DateOnly))
	require.NoError(t, rdb.SAdd(t.Context(), key, "1", "2", "3", "4").Err())
	cfg := a.config()
	var reported []error
	cfg.Report = func(err error) { reported = append(reported, err) }
	b := a
	b.world = node(t, rdb, cfg)
	a.bank.set(fault.Unavailable("trade", time.Second, errors.New("away")))
	id := b.challenge(t, ann, "c-bob").CombatID
	turns(t, id, b, b)
	require.Len(t, reported, 1)
	require.True(t, strings.Contains(reported[0].Error(), "settling failed"), reported[0])
	require.EqualValues(t, 5, rdb.SCard(t.Context(), key).Val())

	a.bank.set(nil)
	sweeper := a.quick(t, rdb)
	sweeper.run(t)
	a.clock.advance(10 * time.Second)
	eventually(t, "the settlement", func() bool { return len(endings(id, sweeper)) == 1 })
	require.False(t, endings(id, sweeper)[0].Unpaid)
	require.EqualValues(t, 10, endings(id, sweeper)[0].Rewards.Gold)
	require.EqualValues(t, 5, rdb.SCard(t.Context(), key).Val())
}
