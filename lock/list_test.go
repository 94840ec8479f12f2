package lock_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
)

func TestStatsListAndCleanup(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	m := manager(t, rdb)
	held := acquire(t, m, "trade:ann:bob", calm)
	for range 3 {
		_, err := manager(t, rdb).Acquire(t.Context(), "trade:ann:bob", lock.Options{Wait: 30 * time.Millisecond})
		require.ErrorIs(t, err, lock.ErrTimeout)
	}
	other := manager(t, rdb)
	_, err := other.Acquire(t.Context(), "trade:ann:bob", lock.Options{Wait: 30 * time.Millisecond})
	require.Error(t, err)
	s := other.Stats()
	require.Equal(t, "trade:ann:bob", s.MostContended[0].Name)
	require.GreaterOrEqual(t, s.WaitP99, 25*time.Millisecond)
	require.GreaterOrEqual(t, s.WaitP99, s.WaitP50)

	require.NoError(t, rdb.Set(t.Context(), keys.Lock("forever"), "somebody", 0).Err())
	list, err := m.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"forever", "trade:ann:bob"}, []string{list[0].Name, list[1].Name})
	require.Equal(t, held.Fence(), list[1].Fence)
	require.Positive(t, list[1].Left)
	n, err := m.Cleanup(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, ok, err := m.Show(t.Context(), "forever")
	require.NoError(t, err)
	require.False(t, ok)
	_, ok, err = m.Show(t.Context(), "trade:ann:bob")
	require.NoError(t, err)
	require.True(t, ok, "a lease is not removed")
	require.NoError(t, held.Release(t.Context()))
	require.Positive(t, m.Stats().HoldP99)

	metrics := prometheus.NewPedanticRegistry()
	require.NoError(t, metrics.Register(m))
	all, err := metrics.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, f := range all {
		got[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue() // the first outcome: acquired
		if h := f.GetMetric()[0].GetHistogram(); h != nil {
			require.Equal(t, "trade", f.GetMetric()[0].GetLabel()[0].GetValue(), "the class")
			got[f.GetName()] = float64(h.GetSampleCount())
		}
	}
	require.Equal(t, map[string]float64{
		"gateway_lock_held": 0, "gateway_lock_waiting": 0, "gateway_lock_acquisitions_total": 1, "gateway_lock_lost_total": 0, "gateway_lock_unreleased_total": 0,
		"gateway_lock_wait_seconds": 1, "gateway_lock_hold_seconds": 1,
	}, got)
}

// Cleanup removes locks that never expire on each server, also while another server is down.
func TestCleanupOfAQuorum(t *testing.T) {
	t.Parallel()
	one, two, three := redistest.Server(t), redistest.Server(t), redistest.Server(t)
	for _, s := range []*redistest.Instance{one, three} {
		require.NoError(t, s.Client().Set(t.Context(), keys.Lock("forever"), "somebody", 0).Err())
	}
	m := manager(t, one.Client(), two.Client(), three.Client())
	two.Kill()
	n, err := m.Cleanup(t.Context())
	require.ErrorIs(t, err, lock.ErrUnavailable)
	require.Equal(t, 2, n)
}
