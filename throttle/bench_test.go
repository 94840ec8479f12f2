package throttle

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
)

// sortedSet is what most others do: a member an admission, scored by time.
const sortedSet = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local us = ARGV[2] * 1000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - us)
local n = redis.call('ZCARD', KEYS[1])
if n >= tonumber(ARGV[1]) then
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return {0, 0, math.ceil((first[2] + us - now) / 1000)}
end
redis.call('ZADD', KEYS[1], now, ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {1, ARGV[1] - n - 1, 0}`

// BenchmarkRedisCPU is what a check costs the server, in microseconds of its CPU.
func BenchmarkRedisCPU(b *testing.B) {
	for _, c := range []struct {
		limit    int
		window   time.Duration
		subjects int
	}{{10, 100 * time.Millisecond, 1000}, {10, 10 * time.Second, 50_000}, {50, time.Second, 1000}} {
		for _, s := range []struct {
			name   string
			script *redisx.Script
			run    func(context.Context, redis.UniversalClient, ...*redisx.Call)
		}{
			{"sortedset", redisx.NewScript(sortedSet), redisx.RunScripts},
			{"ours", spendScript, redisx.RunScripts},
			{"merged", spendScript, redisx.RunMerged},
		} {
			b.Run(fmt.Sprintf("%d_per_%s/%s", c.limit, c.window, s.name), func(b *testing.B) {
				rdb := redistest.Server(b).Client()
				ctx := context.Background()
				for _, source := range s.script.Sources() {
					require.NoError(b, rdb.ScriptLoad(ctx, source).Err())
				}
				args := []any{c.limit, c.window.Milliseconds()}
				before := cpu(b, rdb)
				for i := 0; i < b.N; i += 64 {
					var calls []*redisx.Call
					for k := i; k < min(i+64, b.N); k++ {
						call := &redisx.Call{Script: s.script, Keys: []string{"ratelimit:" + strconv.Itoa(k*7919%c.subjects) + ":chat"}, Args: args}
						if s.name == "sortedset" {
							call.Args = append(args[:2:2], k)
						}
						calls = append(calls, call)
					}
					s.run(ctx, rdb, calls...)
					require.NoError(b, calls[0].Err())
				}
				b.ReportMetric((cpu(b, rdb)-before)*1e6/float64(b.N), "redis-µs/op")
			})
		}
	}
}

func cpu(b *testing.B, rdb redis.UniversalClient) (seconds float64) {
	info, err := rdb.Info(context.Background(), "cpu").Result()
	require.NoError(b, err)
	for line := range strings.Lines(info) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		if k == "used_cpu_user" || k == "used_cpu_sys" {
			f, err := strconv.ParseFloat(v, 64)
			require.NoError(b, err)
			seconds += f
		}
	}
	return seconds
}

// BenchmarkSpend is guarded decisions with many callers, and the refused flood.
func BenchmarkSpend(b *testing.B) {
	for _, callers := range []int{2, 64, 512} {
		b.Run(fmt.Sprintf("redis/%d", callers), func(b *testing.B) {
			l := newLimiter(b, redistest.Client(b), Config{Budget: time.Minute}, Policy{Name: "p", Limit: 10, Window: 100 * time.Millisecond, Scope: ByUser})
			var who atomic.Int64
			b.SetParallelism(max(1, callers/2))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					n := who.Add(1)
					if _, err := l.Spend(context.Background(), []string{"p"}, Subject{User: strconv.FormatInt(n%100_000, 10)}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
	b.Run("refused", func(b *testing.B) {
		l := newLimiter(b, redistest.Client(b), Config{Budget: time.Minute}, Policy{Name: "p", Limit: 1, Window: time.Hour, Scope: ByUser})
		spend(b, l, ann, "p")
		spend(b, l, ann, "p")
		policies := []string{"p"}
		b.ReportAllocs()
		for b.Loop() {
			_, _ = l.Spend(context.Background(), policies, ann)
		}
	})
}
