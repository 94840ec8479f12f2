package trade_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/trade"
)

// selfPlayed is every user as their own character.
type selfPlayed struct{}

func (selfPlayed) CharacterOf(_ context.Context, user string) (string, error) { return user, nil }

// Gifts of a hundred pairs at once, under idempotency keys; redis-cpu-µs/op is the processor time
// of Redis, and commands/op what its scripts run.
func BenchmarkGift(b *testing.B) {
	rdb := redistest.Server(b).Client()
	locks := lock.New(lock.Config{}, rdb)
	b.Cleanup(locks.Close)
	store := sessions.New(rdb, sessions.Config{})
	s := trade.New(rdb, managed{Manager: locks}, store, &casts{}, trade.Config{})
	const pairs = 100
	for i := range pairs {
		_, err := s.Mint(b.Context(), trade.MintRequest{CharacterID: fmt.Sprint("giver", i), Items: []trade.Line{some("coin", 1e9)}})
		require.NoError(b, err)
		_, err = store.Create(b.Context(), fmt.Sprint("taker", i), "Taker", nil, sessions.Options{CharacterID: fmt.Sprint("taker", i)})
		require.NoError(b, err)
	}
	var pair, key atomic.Int64
	give := func(i int64) error {
		giver := event.Player{UserID: fmt.Sprint("giver", i), CharacterID: fmt.Sprint("giver", i)}
		name := strconv.FormatInt(key.Add(1), 10)
		claim := &event.Claim{Request: event.Request{Key: name, Digest: "0123456789abcdef"}, Record: keys.Once("trade:execute", "", giver.UserID, name), Token: "token." + name, Keep: time.Hour}
		_, err := s.Execute(event.WithClaim(b.Context(), claim), giver, gift(fmt.Sprint("taker", i), name, 0, some("coin", 1)))
		return err
	}
	for i := range int64(pairs) { // the receivers' characters become known
		require.NoError(b, give(i))
	}
	require.NoError(b, rdb.ConfigResetStat(b.Context()).Err())
	before := redisCPU(b, rdb)
	b.ReportAllocs()
	b.ResetTimer()
	b.SetParallelism(pairs)
	b.RunParallel(func(p *testing.PB) {
		i := pair.Add(1) % pairs
		for p.Next() {
			if err := give(i); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(1e6*(redisCPU(b, rdb)-before)/float64(b.N), "redis-cpu-µs/op")
	calls := 0
	for name, n := range commandCounts(b, rdb) {
		if name != "evalsha" {
			calls += n
		}
	}
	b.ReportMetric(float64(calls)/float64(b.N), "commands/op")
}

// redisCPU returns the processor time that Redis has used, in seconds.
func redisCPU(t testing.TB, rdb redis.UniversalClient) (seconds float64) {
	t.Helper()
	info, err := rdb.Info(t.Context(), "cpu").Result()
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`(?m)^used_cpu_(?:user|sys):([0-9.]+)`).FindAllStringSubmatch(info, -1) {
		used, err := strconv.ParseFloat(m[1], 64)
		require.NoError(t, err)
		seconds += used
	}
	return seconds
}

// commandCounts returns how often Redis has run each command since the last reset.
func commandCounts(t testing.TB, rdb redis.UniversalClient) map[string]int {
	t.Helper()
	stats, err := rdb.Info(t.Context(), "commandstats").Result()
	require.NoError(t, err)
	counts := map[string]int{}
	for _, m := range regexp.MustCompile(`cmdstat_([^:]+):calls=(\d+)`).FindAllStringSubmatch(stats, -1) {
		counts[m[1]], err = strconv.Atoi(m[2])
		require.NoError(t, err)
	}
	return counts
}
