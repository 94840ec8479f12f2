package presence_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/presence"
)

// Users of whom nothing readable is stored are left out of a list and reported. Page after page
// still finds all the others.
func TestUnreadableUsersAreLeftOut(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var mu sync.Mutex
	left := map[string]int{}
	n := start(t, rdb, &hall{}, presence.Config{Report: func(err error) {
		var e *redisx.UnreadableError
		if errors.As(err, &e) {
			mu.Lock()
			defer mu.Unlock()
			left[e.Entry]++
		}
	}})
	n.come("ann", "1")
	n.come("zoe", "1")
	n.online("ann", "zoe")
	users, who := keys.PresenceUsers("online:users"), keys.PresenceWho("online:users")
	for i, form := range []string{``, `{`, `null`, `{}`, `7`, `"x"`, `{"userId":7}`, `{"userId":"another"}`} {
		id := fmt.Sprint("bad", i)
		require.NoError(t, rdb.ZAdd(t.Context(), users, redis.Z{Member: id}).Err())
		require.NoError(t, rdb.HSet(t.Context(), who, id, form).Err())
	}
	require.NoError(t, rdb.ZAdd(t.Context(), users, redis.Z{Member: "nothing"}).Err())
	var got []string
	pages := 0
	for after := ""; ; pages++ {
		page, err := n.List(t.Context(), event.Player{}, presence.Query{After: after, Limit: 3})
		require.NoError(t, err)
		require.Equal(t, 11, page.Total)
		for _, u := range page.Users {
			got = append(got, u.UserID)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	require.Equal(t, []string{"ann", "zoe"}, got)
	require.Equal(t, 3, pages)
	require.Len(t, left, 9)
}
