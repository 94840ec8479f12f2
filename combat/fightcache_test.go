package combat

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	r := recent{limit: 10, fights: map[string]*fight{}}
	for i := range 100 {
		id := fmt.Sprint(i)
		f := r.put(State{CombatID: id})
		require.Same(t, f, r.get(id))
		require.Same(t, f, r.put(State{CombatID: id, Version: 9}), "what is known stays")
		require.LessOrEqual(t, len(r.fights), 10)
	}
	r.forget("99")
	require.Nil(t, r.get("99"))
}

func TestWaitingForATurnEndsWithTheContext(t *testing.T) {
	t.Parallel()
	r := recent{limit: 1, fights: map[string]*fight{}}
	f := r.put(State{CombatID: "1"})
	require.NoError(t, f.enter(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.enter(ctx), context.Canceled)
	f.leave()
	require.NoError(t, f.enter(t.Context()))
}
