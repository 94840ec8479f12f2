package throttle

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// health knows whether Redis may be asked. After the first failure it may not: local windows
// decide, and a goroutine probes Redis until the first good answer.
type health struct {
	rdb      redis.UniversalClient
	budget   time.Duration
	every    time.Duration
	onChange func(degraded bool, cause error)

	isDegraded atomic.Bool

	mu       sync.Mutex
	stop     context.CancelFunc // of the prober; guarded by mu
	isClosed bool               // guarded by mu
	wg       sync.WaitGroup

	reporting sync.Mutex // held while onChange runs, and while it is about to
}

// reportChange calls onChange; reporting is held.
func (h *health) reportChange(degraded bool, cause error) {
	if h.onChange != nil {
		h.onChange(degraded, cause)
	}
}

// startProbing turns to local windows, and probes the server of the window that could not be
// reached.
func (h *health) startProbing(key string, cause error) {
	if h.isDegraded.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isClosed || h.isDegraded.Load() {
		return
	}
	h.isDegraded.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = cancel
	h.wg.Go(func() { h.probeUntilBack(ctx, key, cause) })
}

// probeUntilBack writes a key beside the window that failed, in the same slot of a Cluster, until
// that works: a server that answers but refuses writes is of no use.
func (h *health) probeUntilBack(ctx context.Context, key string, cause error) {
	h.reporting.Lock()
	h.reportChange(true, cause)
	h.reporting.Unlock()
	key = keys.RateLimit("{"+key+"}", "probe")
	tick := time.NewTicker(h.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		begun := time.Now()
		try, cancel := context.WithTimeout(ctx, h.budget)
		err := h.rdb.Set(try, key, 1, time.Second).Err()
		cancel()
		if err != nil || time.Since(begun) > h.budget {
			continue
		}
		h.reporting.Lock()
		h.mu.Lock()
		h.stop()
		h.isDegraded.Store(false)
		h.mu.Unlock()
		h.reportChange(false, nil)
		h.reporting.Unlock()
		return
	}
}

// stopProbing ends the prober and waits for it.
func (h *health) stopProbing() {
	h.mu.Lock()
	h.isClosed = true
	if h.stop != nil {
		h.stop()
	}
	h.mu.Unlock()
	h.wg.Wait()
}
