package redisconn

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// newDedicatedClient makes a client for the same Redis with one connection of its own, which tries
// once and for at most limit. A client of an unknown kind is returned as it is.
func newDedicatedClient(client redis.UniversalClient, limit time.Duration) redis.UniversalClient {
	if server := redisx.SingleServer(client); server != nil {
		o := *server.Options()
		o.PoolSize, o.PipelinePoolSize, o.MinIdleConns, o.MaxRetries = 1, -1, 0, -1
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = limit, limit, limit, limit
		return redis.NewClient(&o)
	}
	if cluster := redisx.ClusterOf(client); cluster != nil {
		o := *cluster.Options()
		o.PoolSize, o.PipelinePoolSize, o.MinIdleConns, o.MaxRetries = 1, -1, 0, -1
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = limit, limit, limit, limit
		return redis.NewClusterClient(&o)
	}
	return client
}

// A wakeHook wakes the monitor when a command finds Redis unavailable, or is refused a right.
type wakeHook struct{ m *Monitor }

func (w wakeHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (w wakeHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return w.wakeOnFailure(next(ctx, cmd))
	}
}

func (w wakeHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return w.wakeOnFailure(next(ctx, cmds))
	}
}

func (w wakeHook) wakeOnFailure(err error) error {
	if IsUnavailable(err) || w.m.rights.noteRefusal(err) {
		w.m.wake.Notify()
	}
	return err
}
