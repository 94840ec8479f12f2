package combat

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// Fights that cannot be read hide themselves only from the list of a user's fights.
func TestUnreadableFightsAreLeftOut(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var left []string
	st := store{rdb: rdb, ttl: time.Minute, report: func(err error) {
		var e *redisx.UnreadableError
		if errors.As(err, &e) {
			left = append(left, e.Key)
		}
	}}
	good := State{CombatID: "good", Status: Active, Version: 1, Seed: 7}
	_, err := st.createFight(t.Context(), good, 0)
	require.NoError(t, err)
	require.NoError(t, rdb.HSet(t.Context(), keys.Combat("cut"), "state", `{"combatId":`, "seed", "1").Err())
	require.NoError(t, rdb.HSet(t.Context(), keys.Combat("seedless"), "state", `{}`).Err())
	require.NoError(t, rdb.Set(t.Context(), keys.Combat("text"), "x", time.Minute).Err())
	for i, id := range []string{"cut", "seedless", "text", "good"} {
		require.NoError(t, rdb.ZAdd(t.Context(), keys.UserCombats("ann"), redis.Z{Score: float64(i), Member: id}).Err())
	}
	all, err := st.loadRunning(t.Context(), "ann")
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, "good", all[0].CombatID)
	require.Equal(t, []string{keys.Combat("cut"), keys.Combat("seedless"), keys.Combat("text")}, left)
	ended, err := st.findEnded(t.Context(), []heldSlot{{id: "cut"}, {id: "text"}, {id: "good"}}, time.Now())
	require.NoError(t, err)
	require.Equal(t, []string{"cut", "text"}, ended, "their slots are free again")
}
