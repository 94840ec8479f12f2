package redisconn_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
)

func TestCheckTellsAboutTheServer(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t, "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes")
	h := redisconn.Check(context.Background(), open(t, s.URL()))
	require.Equal(t, redisconn.StatusUp, h.Status)
	require.Empty(t, h.Error)
	require.Positive(t, h.LatencyMs)
	require.Equal(t, "master", h.Role)
	require.Regexp(t, `^(valkey )?\d+\.\d+\.\d+$`, h.Version)
	require.Equal(t, int64(64<<20), h.Memory.MaxBytes)
	require.Positive(t, h.Memory.UsedBytes)
	require.Equal(t, "allkeys-lru", h.EvictionPolicy)
	require.Equal(t, "aof", h.Persistence)
	require.Positive(t, h.Pool.Total)
	require.Equal(t, []string{"maxmemory-policy allkeys-lru may throw away sessions and inventories; set noeviction"}, h.Warnings)
}

func TestCheckWarns(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.Server(t, "--save", "3600", "1")
	c := open(t, s.URL())
	require.Equal(t, "rdb", redisconn.Check(ctx, c).Persistence)
	require.NoError(t, c.ConfigSet(ctx, "save", "").Err())
	h := redisconn.Check(ctx, c)
	require.Equal(t, "none", h.Persistence)
	require.Contains(t, h.Warnings, "nothing is kept when Redis restarts: neither snapshots nor an append-only file")

	require.NoError(t, c.ConfigSet(ctx, "maxmemory", "1100000").Err())
	h = redisconn.Check(ctx, c)
	require.Contains(t, h.Warnings, "more than 90 % of maxmemory is used")

	require.NoError(t, c.ConfigSet(ctx, "maxmemory", "1").Err())
	h = redisconn.Check(ctx, c)
	require.Equal(t, redisconn.StatusDegraded, h.Status, "full memory refuses writes")
	require.Equal(t, "Redis has no memory left", h.Error)
}

func TestCheckOfAReplica(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := open(t, redistest.Server(t).URL())
	require.NoError(t, c.Do(ctx, "replicaof", "127.0.0.1", "1").Err())
	h := redisconn.Check(ctx, c)
	require.Equal(t, redisconn.StatusDegraded, h.Status)
	require.Equal(t, "replica", h.Role)
	require.Equal(t, "Redis is read-only", h.Error)
	require.Contains(t, h.Warnings, "this replica has lost its master")
}

func TestCheckWhileLoading(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.Server(t, "--enable-debug-command", "yes")
	c := open(t, s.URL())
	require.NoError(t, c.Do(ctx, "debug", "populate", "2000").Err())
	require.NoError(t, c.ConfigSet(ctx, "key-load-delay", "1000").Err())
	require.NoError(t, c.ConfigSet(ctx, "loading-process-events-interval-bytes", "1024").Err())
	reload := redis.NewClient(&redis.Options{Addr: s.Addr(), ReadTimeout: time.Minute, MaxRetries: -1})
	done := make(chan error, 1)
	go func() { done <- reload.Do(ctx, "debug", "reload").Err() }()
	seen := false
	require.Eventually(t, func() bool {
		h := redisconn.Check(ctx, c)
		if h.Error == "Redis is loading its data" {
			require.Equal(t, redisconn.StatusDegraded, h.Status)
			require.NotEmpty(t, h.Version, "INFO answers meanwhile")
			seen = true
		}
		return seen
	}, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, <-done)
	require.NoError(t, reload.Close())
	require.Equal(t, redisconn.StatusUp, redisconn.Check(ctx, c).Status)
}

func TestCheckOfWhatIsDown(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t)
	c := open(t, s.URL())
	check := func() redisconn.Health {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		h := redisconn.Check(ctx, c)
		require.Less(t, time.Since(start), 300*time.Millisecond+within)
		return h
	}
	s.Pause()
	require.Equal(t, redisconn.StatusDown, check().Status)
	require.Equal(t, "no answer in time", check().Error)
	s.Resume()
	back := func() bool { return check().Status == redisconn.StatusUp }
	require.Eventually(t, back, within, time.Millisecond)
	s.Kill()
	require.Equal(t, redisconn.StatusDown, check().Status)
	require.Equal(t, "connection refused", check().Error)
	s.Restart()
	require.Eventually(t, back, within, time.Millisecond)

	locked := redistest.Server(t, "--requirepass", "hunter2")
	wrong, err := redisconn.New("redis://:wrong@"+locked.Addr(), redisconn.Config{})
	require.NoError(t, err)
	defer wrong.Close()
	h := redisconn.Check(context.Background(), wrong)
	require.Equal(t, redisconn.StatusDown, h.Status)
	require.Equal(t, "Redis does not take our password", h.Error)
}

func TestCheckOfMiniredis(t *testing.T) {
	t.Parallel()
	c := open(t, embedded(t, redisconn.EmbeddedConfig{InProcess: true}).URL())
	h := redisconn.Check(context.Background(), c)
	require.Equal(t, redisconn.StatusUp, h.Status)
	require.Empty(t, h.Error)
	require.Len(t, h.Warnings, 1)
	require.Nil(t, h.Memory)
	require.Zero(t, c.DBSize(context.Background()).Val(), "asking writes nothing")
}

func TestCheckForAUserWithFewRights(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t, "--user", "ann", "on", ">secret", "~session:*", "+@read", "+@write", "+@connection")
	h := redisconn.Check(context.Background(), open(t, "redis://ann:secret@"+s.Addr()))
	require.Equal(t, redisconn.StatusUp, h.Status)
	require.Equal(t, []string{"Redis does not answer INFO"}, h.Warnings)
}

func TestHealthAsJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(redisconn.Health{Status: redisconn.StatusDown, Warnings: []string{}, Error: "connection refused"})
	require.NoError(t, err)
	require.JSONEq(t, `{"status":"down","latencyMs":0,"warnings":[],"error":"connection refused",
		"pool":{"total":0,"idle":0,"stale":0,"hits":0,"misses":0,"timeouts":0}}`, string(b))
}
