package cache_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

const (
	patience = 15 * time.Second
	tick     = 5 * time.Millisecond
)

type hero struct {
	Name  string `json:"name"`
	Level int    `json:"level"`
}

// slow is a config for a busy machine. Tests of the budget use their own.
func slow() cache.Config { return cache.Config{Budget: 10 * time.Second} }

// manager returns a Manager without L1, so that every read goes to Redis.
func manager(t testing.TB, rdb redis.UniversalClient, cfg cache.Config) *cache.Manager {
	t.Helper()
	cfg.Local.Off = true
	m := cache.New(rdb, cfg)
	t.Cleanup(m.Close)
	return m
}

// node returns a Manager with L1 whose Run has subscribed.
func node(t testing.TB, rdb redis.UniversalClient, cfg cache.Config) *cache.Manager {
	t.Helper()
	m := cache.New(rdb, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		m.Close()
	})
	// It has subscribed when L1 stores what it reads.
	key := "ready:" + t.Name()
	require.NoError(t, m.Set(context.Background(), key, 1, time.Minute))
	require.Eventually(t, func() bool {
		before := m.Stats().LocalHits
		_, _, err := cache.Get[int](context.Background(), m, key)
		require.NoError(t, err)
		return m.Stats().LocalHits > before
	}, patience, tick)
	return m
}

// told collects what a manager reports to OnError.
type told struct {
	mu  sync.Mutex
	all []string // guarded by mu
}

func (f *told) failed(doing string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, doing+": "+err.Error())
}

func (f *told) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all)
}
