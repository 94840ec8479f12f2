package throttle

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// health knows whether Redis may be asked. The first failure turns it off; a goroutine then
// probes, and the first good answer turns it on again.
type health struct {
	rdb      redis.UniversalClient
	budget   time.Duration
	every    time.Duration
	onChange func(degraded bool, cause error)

	degraded atomic.Bool

	mu     sync.Mutex
	stop   context.CancelFunc // of the prober; guarded by mu
	closed bool               // guarded by mu
	wg     sync.WaitGroup

	telling sync.Mutex // held while onChange runs, and while it is about to
}

func (h *health) tell(degraded bool, cause error) {
	if h.onChange != nil {
		h.onChange(degraded, cause)
	}
}

// failed is told which window could not be reached, and why.
func (h *health) failed(key string, cause error) {
	if h.degraded.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.degraded.Load() {
		return
	}
	h.degraded.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = cancel
	h.wg.Go(func() { h.probe(ctx, key, cause) })
}

// probe writes beside the window that failed, in the same slot of a Cluster, until that works:
// a server that answers but may not write is no use.
func (h *health) probe(ctx context.Context, key string, cause error) {
	h.telling.Lock()
	h.tell(true, cause)
	h.telling.Unlock()
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
		h.telling.Lock()
		h.mu.Lock()
		h.stop()
		h.degraded.Store(false)
		h.mu.Unlock()
		h.tell(false, nil)
		h.telling.Unlock()
		return
	}
}

func (h *health) close() {
	h.mu.Lock()
	h.closed = true
	if h.stop != nil {
		h.stop()
	}
	h.mu.Unlock()
	h.wg.Wait()
}
