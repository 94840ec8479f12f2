package redisx_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redisx"
)

type square struct{ n, squared int }

// A desk serves squares, and notes how many come in a batch. Each batch takes a second.
type desk struct {
	mu      sync.Mutex
	batches []int
	under   atomic.Int64
	most    atomic.Int64
}

func (d *desk) serve(_ context.Context, all []*square) {
	d.mu.Lock()
	d.batches = append(d.batches, len(all))
	d.mu.Unlock()
	d.most.Store(max(d.most.Load(), d.under.Add(1)))
	time.Sleep(time.Second)
	for _, s := range all {
		s.squared = s.n * s.n
	}
	d.under.Add(-1)
}

func ask(t *testing.T, b *redisx.Batcher[square], n int) (wait func()) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			got, err := b.Do(t.Context(), square{n: i})
			require.NoError(t, err)
			require.Equal(t, i*i, got.squared)
		})
	}
	return all.Wait
}

// Requests that come while a batch is under way go with the next; each caller gets its own answer.
func TestRequestsGoTogether(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits redisx.BatchLimits
		want   []int
	}{
		"one batch at a time":           {redisx.BatchLimits{MaxBatch: 32, MaxWaiting: 100, MaxWorkers: 1, NextWorkerAt: 1, Timeout: time.Minute}, []int{1, 32, 32, 32, 3}},
		"a second where many wait":      {redisx.BatchLimits{MaxBatch: 32, MaxWaiting: 100, MaxWorkers: 2, NextWorkerAt: 32, Timeout: time.Minute}, []int{1, 32, 32, 32, 3}},
		"as many as there are, at most": {redisx.BatchLimits{MaxBatch: 1000, MaxWaiting: 100, MaxWorkers: 1, NextWorkerAt: 1, Timeout: time.Minute}, []int{1, 99}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				b := redisx.NewBatcher(c.limits, d.serve)
				first := ask(t, b, 1)
				synctest.Wait()
				others := ask(t, b, 99)
				synctest.Wait()
				first()
				others()
				require.Equal(t, c.want, d.batches)
				require.Equal(t, int64(c.limits.MaxWorkers), d.most.Load())
				require.Zero(t, b.Waiting())
			})
		})
	}
}

// A request whose caller has left before the batch was sent is not served.
func TestWhoLeavesIsNotServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		b := redisx.NewBatcher(redisx.BatchLimits{MaxBatch: 8, MaxWaiting: 8, MaxWorkers: 1, NextWorkerAt: 1, Timeout: time.Minute}, d.serve)
		first := ask(t, b, 1)
		synctest.Wait()
		gone, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() { _, err := b.Do(gone, square{n: 7}); left <- err }()
		synctest.Wait()
		require.Equal(t, 1, b.Waiting())
		cancel()
		require.ErrorIs(t, <-left, context.Canceled)
		first()
		synctest.Wait()
		require.Equal(t, []int{1}, d.batches)
	})
}

// More requests than MaxWaiting are refused at once. The context of a batch ends after Timeout.
func TestBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stuck := func(ctx context.Context, _ []*square) { <-ctx.Done() }
		b := redisx.NewBatcher(redisx.BatchLimits{MaxBatch: 1, MaxWaiting: 3, MaxWorkers: 1, NextWorkerAt: 1, Timeout: time.Hour}, stuck)
		start := time.Now()
		var all sync.WaitGroup
		all.Go(func() { _, _ = b.Do(t.Context(), square{}) })
		synctest.Wait()
		for range 3 {
			all.Go(func() { _, _ = b.Do(t.Context(), square{}) })
		}
		synctest.Wait()
		_, err := b.Do(t.Context(), square{})
		require.ErrorIs(t, err, redisx.ErrBusy)
		require.Equal(t, start, time.Now())
		all.Wait()
		require.Equal(t, 4*time.Hour, time.Since(start))
	})
}

// A panic is the error of the requests in that batch, and of no others.
func TestPanic(t *testing.T) {
	t.Parallel()
	b := redisx.NewBatcher(redisx.BatchLimits{MaxBatch: 1, MaxWaiting: 3, MaxWorkers: 1, NextWorkerAt: 1, Timeout: time.Hour}, func(_ context.Context, all []*square) {
		all[0].squared = 12 / all[0].n
	})
	_, err := b.Do(t.Context(), square{n: 0})
	require.ErrorContains(t, err, "divide by zero")
	got, err := b.Do(t.Context(), square{n: 3})
	require.NoError(t, err)
	require.Equal(t, 4, got.squared)
}

// A caller waits for Patience at most; what was sent is served all the same, and Close waits for
// it.
func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		b := redisx.NewBatcher(redisx.BatchLimits{
			MaxBatch: 8, MaxWaiting: 8, MaxWorkers: 1, NextWorkerAt: 1, Timeout: time.Minute, Patience: 100 * time.Millisecond,
		}, d.serve)
		start := time.Now()
		_, err := b.Do(t.Context(), square{n: 7})
		require.ErrorIs(t, err, redisx.ErrTooSlow)
		require.Equal(t, 100*time.Millisecond, time.Since(start))
		b.Close()
		require.Equal(t, time.Second, time.Since(start))
		require.Equal(t, []int{1}, d.batches)
		_, err = b.Do(t.Context(), square{n: 7})
		require.ErrorIs(t, err, redisx.ErrBusy, "it is closed")
	})
}
