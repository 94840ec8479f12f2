package main

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/redisconn"
)

// redisFlag is what every command takes that needs Redis.
type redisFlag struct {
	Redis string `placeholder:"URL" help:"redis://[user:password@]host:port[/db], rediss://…, unix:///path, redis+sentinel://host:port,…/MASTER or redis+cluster://host:port,…"`
}

// open connects for a command that ends soon.
func (f redisFlag) open(ctx context.Context) (redis.UniversalClient, error) {
	if f.Redis == "" {
		return nil, usage("--redis is required")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return redisconn.Open(ctx, f.Redis, redisconn.Config{Name: "gateway-command", PoolSize: 4})
}
