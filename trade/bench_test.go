package trade_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/trade"
)

// selfPlayed is every user as their own character.
type selfPlayed struct{}

func (selfPlayed) CharacterOf(_ context.Context, user string) (string, error) { return user, nil }

// Gifts of a hundred pairs at once; redis-µs/op is what the script takes there.
func BenchmarkGift(b *testing.B) {
	rdb := redistest.Server(b).Client()
	locks := lock.New(lock.Config{}, rdb)
	b.Cleanup(locks.Close)
	s := trade.New(rdb, managed{Manager: locks}, selfPlayed{}, &casts{}, trade.Config{})
	const pairs = 100
	for i := range pairs {
		_, err := s.Mint(b.Context(), trade.MintRequest{CharacterID: fmt.Sprint("giver", i), Items: []trade.Line{some("coin", 1e9)}})
		require.NoError(b, err)
	}
	require.NoError(b, rdb.ConfigResetStat(b.Context()).Err())
	var pair, key atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(pairs)
	b.RunParallel(func(p *testing.PB) {
		i := pair.Add(1) % pairs
		giver := event.Player{UserID: fmt.Sprint("giver", i), CharacterID: fmt.Sprint("giver", i)}
		to := fmt.Sprint("taker", i)
		for p.Next() {
			if _, err := s.Execute(b.Context(), giver, gift(to, strconv.FormatInt(key.Add(1), 10), 0, some("coin", 1))); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	stats, err := rdb.Info(b.Context(), "commandstats").Result()
	require.NoError(b, err)
	if m := regexp.MustCompile(`cmdstat_evalsha:.*usec_per_call=([0-9.]+)`).FindStringSubmatch(stats); m != nil {
		us, err := strconv.ParseFloat(m[1], 64)
		require.NoError(b, err)
		b.ReportMetric(us, "redis-µs/op")
	}
}
