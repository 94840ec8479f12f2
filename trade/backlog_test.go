package trade_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

// The backlog is what no sweeper has looked at in time, and not what is open.
func TestBacklog(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	svc := trade.New(rdb, nil, nil, nil, trade.Config{})
	now := time.Now()
	for id, due := range map[string]time.Time{
		"01M8P50VKW4JEV7XENZRJM7KF1": now.Add(-time.Hour), "01M8P50VKW4JEV7XENZRJM7KF2": now.Add(-11 * time.Second),
		"01M8P50VKW4JEV7XENZRJM7KF3": now.Add(-time.Second), "01M8P50VKW4JEV7XENZRJM7KF4": now.Add(5 * time.Minute),
	} {
		require.NoError(t, rdb.ZAdd(t.Context(), keys.OpenTrades, redis.Z{Score: float64(due.UnixMilli()), Member: id}).Err())
	}
	n, err := svc.Backlog(t.Context(), 10*time.Second)
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
}
