package combat

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	r := fightCache{maxFights: 10, fights: map[string]*cachedFight{}}
	for i := range 100 {
		id := fmt.Sprint(i)
		f := r.rememberFight(State{CombatID: id})
		require.Same(t, f, r.getFight(id))
		require.Same(t, f, r.rememberFight(State{CombatID: id, Version: 9}), "a known fight is not replaced")
		require.LessOrEqual(t, len(r.fights), 10)
	}
	r.forgetFight("99")
	require.Nil(t, r.getFight("99"))
}

func TestWaitingForATurnEndsWithTheContext(t *testing.T) {
	t.Parallel()
	r := fightCache{maxFights: 1, fights: map[string]*cachedFight{}}
	f := r.rememberFight(State{CombatID: "1"})
	require.NoError(t, f.acquireTurn(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.acquireTurn(ctx), context.Canceled)
	f.releaseTurn()
	require.NoError(t, f.acquireTurn(t.Context()))
}
