package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/redisconn"
)

// This table compares acquiring and releasing our lock with plain redsync in Go and redlock in
// Node, with the peer's settings. Only our lock counts a fence, watches the lease and wakes the
// callers that wait.

// locksCase is the table's name for -only.
const locksCase = "locks"

// A lockLoad is one run. The callers share the names evenly.
type lockLoad struct {
	Who            string // ours or redsync
	Redis          string
	Callers, Names int
	Warmup, For    time.Duration
}

// These are the peer's settings: a lock's lifetime, the number of tries, and the delay between
// them.
const (
	lockTTL   = 3 * time.Second
	lockTries = 11
	lockDelay = 20 * time.Millisecond
)

// These are the wanted ratios of what a CPU-second achieves.
const (
	wantToRedlock = 1.0
	wantToRedsync = 1.5
)

// requireLocks measures and prints a table. It returns errMissed when a CPU-second achieves too
// little.
func (l *lab) requireLocks(ctx context.Context, out io.Writer) error {
	fmt.Fprintf(out, "\n| acquire and release (wanted per CPU-second: ≥ %.1f × redlock, ≥ %.1f × redsync) | redlock (Node) | plain redsync (Go) | ours | to redlock | to redsync |\n|---|---|---|---|---|---|\n", wantToRedlock, wantToRedsync)
	var missed error
	for _, c := range []struct {
		title string
		load  lockLoad
	}{
		{"64 callers, a lock each", lockLoad{Callers: 64, Names: 64}},
		{"64 callers, two for each lock", lockLoad{Callers: 64, Names: 32}},
		{"64 callers, eight for each lock", lockLoad{Callers: 64, Names: 8}},
	} {
		c.load.Warmup, c.load.For = l.plan.warmup, l.plan.measured
		got := map[string]contestResult{}
		for _, who := range []string{"redlock", "redsync", "ours"} {
			d, err := l.runLockHolder(ctx, who, c.load)
			if err != nil {
				return fmt.Errorf("locks: %s: %w", who, err)
			}
			got[who] = d
		}
		line := func(what string, of func(contestResult) float64) {
			node, plain, ours := of(got["redlock"]), of(got["redsync"]), of(got["ours"])
			fmt.Fprintf(out, "| %s, %s | %.0f | %.0f | %.0f | %.2f | %.2f |\n", c.title, what, node, plain, ours, ours/max(1, node), ours/max(1, plain))
		}
		line("per second", contestResult.decisionsPerSecond)
		line("per CPU-second", contestResult.decisionsPerCPUSecond)
		ours := got["ours"].decisionsPerCPUSecond()
		if ours < wantToRedlock*got["redlock"].decisionsPerCPUSecond() || ours < wantToRedsync*got["redsync"].decisionsPerCPUSecond() {
			missed = errMissed
		}
		fmt.Fprintf(out, "| %s, µs of Redis for each | %.1f | %.1f | %.1f | | |\n", c.title, 1e6*got["redlock"].redisSeconds, 1e6*got["redsync"].redisSeconds, 1e6*got["ours"].redisSeconds)
	}
	return missed
}

// runLockHolder runs one kind of lock.
func (l *lab) runLockHolder(ctx context.Context, who string, in lockLoad) (contestResult, error) {
	return l.runContest(ctx, func(redis string) ([]string, error) {
		in.Who, in.Redis = who, redis
		if who != "redlock" {
			return l.selfCommand("-holder", in)
		}
		return []string{
			"REDIS=" + redis, "CALLERS=" + strconv.Itoa(in.Callers), "NAMES=" + strconv.Itoa(in.Names),
			fmt.Sprintf("WARMUP=%g", in.Warmup.Seconds()), fmt.Sprintf("SECONDS=%g", in.For.Seconds()), l.node, "locks.js",
		}, nil
	})
}

// playHolderChild is all that the child process does: it runs one kind of lock under the given
// number of callers. It fails when two callers hold the same name at once.
func playHolderChild(ctx context.Context, described string, stdout, stderr io.Writer) error {
	var in lockLoad
	if err := json.Unmarshal([]byte(described), &in); err != nil {
		return fmt.Errorf("holder: %w", err)
	}
	if in.Callers < 1 || in.Names < 1 {
		return errors.New("holder: no callers, or no names")
	}
	rdb, err := redisconn.Open(ctx, "redis://"+in.Redis, redisconn.Config{Name: "bench", PoolSize: in.Callers})
	if err != nil {
		return fmt.Errorf("holder: %w", err)
	}
	defer rdb.Close()
	hold, done, err := newLockHolder(ctx, rdb, in.Who)
	if err != nil {
		return err
	}
	defer done()
	inside := make([]atomic.Int32, in.Names)
	var broken atomic.Bool
	d := runCallers(in.Callers, in.Warmup, in.For, stderr, func(caller int) bool {
		at := caller % in.Names
		return hold("bench:"+strconv.Itoa(at), func() {
			if inside[at].Add(1) != 1 {
				broken.Store(true)
			}
			inside[at].Add(-1)
		})
	})
	if broken.Load() {
		return fmt.Errorf("holder: %s: two held one lock", in.Who)
	}
	return json.NewEncoder(stdout).Encode(d)
}

// newLockHolder returns a function that acquires one kind of lock, runs fn and releases the lock;
// it reports whether the lock was held until then. done releases the lock's resources.
func newLockHolder(ctx context.Context, rdb redis.UniversalClient, who string) (hold func(name string, fn func()) bool, done func(), err error) {
	switch who {
	case "ours":
		m := lock.New(lock.Config{}, rdb)
		return func(name string, fn func()) bool {
			return m.Do(ctx, name, lock.Options{TTL: lockTTL}, func(context.Context, *lock.Lease) error { fn(); return nil }) == nil
		}, m.Close, nil
	case "redsync":
		rs := redsync.New(goredis.NewPool(rdb))
		return func(name string, fn func()) bool {
			m := rs.NewMutex("lock:"+name, redsync.WithExpiry(lockTTL), redsync.WithTries(lockTries), redsync.WithRetryDelay(lockDelay))
			if m.LockContext(ctx) != nil {
				return false
			}
			fn()
			ok, err := m.UnlockContext(ctx)
			return ok && err == nil
		}, func() {}, nil
	}
	return nil, nil, fmt.Errorf("holder: no such lock: %q", who)
}
