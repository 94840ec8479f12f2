package nodecall_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/nodecall"
	"github.com/aeturnis/realtime/internal/redistest"
)

// The channel of questions has no database, but two clusters on two databases of one Redis have
// nothing to do with each other: not even where their nodes have the same names.
func TestOnlyTheNodesOfThisDatabaseAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	var asked [2]atomic.Int32
	var databases [2]*redis.Client
	for i := range databases {
		options, err := redis.ParseURL(server.URL())
		require.NoError(t, err)
		options.DB = i
		rdb := redis.NewClient(options)
		databases[i] = rdb
		n := nodecall.NewServer(rdb, "gw-1", map[string]nodecall.Handler{"which": func(context.Context, string, []byte) (any, error) {
			asked[i].Add(1)
			return i, nil
		}}, func(err error) { t.Log(err) })
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		t.Cleanup(func() {
			stop()
			<-done
			_ = rdb.Close()
		})
	}
	for i, rdb := range databases {
		require.Eventually(t, func() bool {
			answers, err := nodecall.Ask(t.Context(), rdb, nodecall.Request{What: "which", By: "a test"})
			require.NoError(t, err)
			return len(answers.All) == 1
		}, 10*time.Second, 10*time.Millisecond, "it subscribes")
		before := asked[1-i].Load()
		for range 20 {
			answers, err := nodecall.Ask(t.Context(), rdb, nodecall.Request{What: "which", By: "a test"})
			require.NoError(t, err)
			require.Len(t, answers.All, 1)
			require.Equal(t, []string{"0", "1"}[i], string(answers.All[0].Data))
			require.Empty(t, answers.Silent)
		}
		require.Equal(t, before, asked[1-i].Load())
	}
}
