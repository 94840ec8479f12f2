package redisx_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
)

func TestBindID(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	bind := func(id, replaces string) redisx.Binding {
		b, err := redisx.BindID(t.Context(), rdb, "record", id, replaces, time.Minute)
		require.NoError(t, err)
		return b
	}
	first := bind("one", "")
	require.Equal(t, "one", first.ID)
	require.True(t, first.IsNew)
	again := bind("two", "")
	require.Equal(t, "one", again.ID, "whoever comes second goes on with the first id")
	require.False(t, again.IsNew)
	require.Equal(t, first.BoundAt, again.BoundAt)
	require.Equal(t, "one", bind("two", "three").ID, "only what was named is replaced")
	require.Equal(t, "two", bind("two", "one").ID)
	require.Equal(t, "two", bind("three", "one").ID, "and only once")
	require.LessOrEqual(t, rdb.PTTL(t.Context(), "record").Val(), time.Minute)
	require.Positive(t, rdb.PTTL(t.Context(), "record").Val())

	require.NoError(t, rdb.Set(t.Context(), "record", "not ours", 0).Err())
	require.Equal(t, "four", bind("four", "").ID, "what cannot be read does not stand in the way")
}
