// Package bench measures the cache beside plain go-redis and go-redis/cache. It is a module of its
// own, so that what it compares with is nobody else's dependency:
//
//	make bench-cache
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	other "github.com/go-redis/cache/v9"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// profile is about what a user's profile is: 150 bytes as JSON.
type profile struct {
	UserID     string   `json:"userId"`
	Username   string   `json:"username"`
	Level      int      `json:"level"`
	Characters []string `json:"characters"`
	CreatedAt  int64    `json:"createdAt"`
}

var someone = profile{"user-123456", "johnsmith", 50, []string{"char-456", "char-789", "char-012"}, 1_700_000_000_000}

// BenchmarkRead compares reads with plain go-redis and with go-redis/cache, which has an L1 too.
func BenchmarkRead(b *testing.B) {
	ctx := context.Background()
	rdb := redistest.Client(b)
	far := cache.New(rdb, cache.Config{Local: cache.Local{Off: true}})
	near := cache.New(rdb, cache.Config{})
	hearing, stop := context.WithCancel(ctx)
	heard := make(chan error, 1)
	go func() { heard <- near.Run(hearing) }()
	b.Cleanup(func() {
		stop()
		must(b, <-heard)
		near.Close()
		far.Close()
	})
	theirs := other.New(&other.Options{Redis: rdb})
	theirsNear := other.New(&other.Options{Redis: rdb, LocalCache: other.NewTinyLFU(10_000, time.Minute)})

	raw, _ := json.Marshal(someone)
	must(b, rdb.Set(ctx, "plain", raw, time.Hour).Err())
	must(b, far.Set(ctx, "ours", someone, time.Hour))
	must(b, theirs.Set(&other.Item{Ctx: ctx, Key: "theirs", Value: someone, TTL: time.Hour}))
	hundred, items := make([]string, 100), make([]cache.Item, 100)
	for i := range hundred {
		hundred[i] = fmt.Sprintf("user:%d", i)
		items[i] = cache.Item{Key: hundred[i], Value: someone, TTL: time.Hour}
	}
	must(b, far.MSet(ctx, items...))

	for near.Stats().LocalHits == 0 { // it keeps what it reads once it hears
		_, _, err := cache.Get[profile](ctx, near, "ours")
		must(b, err)
	}

	run := func(name string, read func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			own, redis := cpuOfProcess(), cpuOfRedis(b, rdb)
			for b.Loop() {
				must(b, read())
			}
			n := float64(b.N)
			b.ReportMetric((cpuOfProcess()-own)/n, "cpu-us/op")
			b.ReportMetric((cpuOfRedis(b, rdb)-redis)/n, "redis-cpu-us/op")
		})
	}
	var p profile
	run("L1 hit/ours", func() error { _, _, err := cache.Get[profile](ctx, near, "ours"); return err })
	run("L1 hit/go-redis-cache", func() error { return theirsNear.Get(ctx, "theirs", &p) })
	run("L2 hit/ours", func() error { _, _, err := cache.Get[profile](ctx, far, "ours"); return err })
	run("L2 hit/go-redis-cache", func() error { return theirs.Get(ctx, "theirs", &p) })
	run("L2 hit/plain go-redis", func() error {
		raw, err := rdb.Get(ctx, "plain").Bytes()
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, &p)
	})
	n := 0
	fresh := func() string { n++; return fmt.Sprintf("miss:%d", n) }
	run("miss and load/ours", func() error {
		_, err := cache.Aside(ctx, far, fresh(), func(context.Context) (profile, error) { return someone, nil }, cache.Options{})
		return err
	})
	run("miss and load/go-redis-cache", func() error {
		return theirs.Once(&other.Item{Ctx: ctx, Key: fresh(), Value: &p, TTL: time.Hour, Do: func(*other.Item) (any, error) { return someone, nil }})
	})
	run("miss and load/plain go-redis", func() error {
		key := fresh()
		if err := rdb.Get(ctx, key).Err(); err != redis.Nil {
			return err
		}
		raw, err := json.Marshal(someone)
		if err != nil {
			return err
		}
		return rdb.Set(ctx, key, raw, time.Hour).Err()
	})
	run("MGet of 100/ours", func() error { _, err := cache.MGet[profile](ctx, far, hundred); return err })
	run("MGet of 100/plain go-redis", func() error {
		values, err := rdb.MGet(ctx, hundred...).Result()
		for _, v := range values {
			if err == nil {
				err = json.Unmarshal([]byte(v.(string)), &p)
			}
		}
		return err
	})
}

// cpuOfProcess returns the CPU time of this process, in microseconds.
func cpuOfProcess() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e3
}

// cpuOfRedis returns the CPU time of the Redis server, in microseconds.
func cpuOfRedis(b *testing.B, rdb redis.UniversalClient) (us float64) {
	b.Helper()
	info, err := rdb.InfoMap(context.Background(), "cpu").Result()
	must(b, err)
	for _, name := range []string{"used_cpu_sys", "used_cpu_user"} {
		seconds, err := strconv.ParseFloat(info["CPU"][name], 64)
		must(b, err)
		us += seconds * 1e6
	}
	return us
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
