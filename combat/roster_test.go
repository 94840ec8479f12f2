package combat_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
)

func TestTheRosterKnowsWhoPlays(t *testing.T) {
	t.Parallel()
	r := combat.NewRoster(redistest.Client(t), func(err error) { t.Errorf("reported: %v", err) })
	for i := range 10_000 { // more than the queue holds: none of them blocks
		r.Connected(event.Player{UserID: fmt.Sprint("u", i), CharacterID: fmt.Sprint("c", i)})
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	knows := func(character, user string) {
		t.Helper()
		require.Eventually(t, func() bool {
			got, err := r.Player(t.Context(), character)
			return err == nil && got == user
		}, 10*time.Second, time.Millisecond)
	}
	knows("c0", "u0")
	knows("c4000", "u4000")
	r.Connected(event.Player{UserID: "nobody"})
	r.CharacterChanged(event.Player{UserID: "u7", CharacterID: "c0"})
	knows("c0", "u7")
	r.Disconnected(event.Player{UserID: "u7", CharacterID: "c0"})
	knows("c0", "u7")
	_, err := r.Player(t.Context(), "c9999")
	require.ErrorIs(t, err, fault.ErrNotFound)
	stop()
	wg.Wait()
}
