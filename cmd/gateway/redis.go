package main

import (
	"context"
	"errors"
	"fmt"
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
	return connect(ctx, f.Redis, redisconn.Config{Name: "gateway-command", PoolSize: 4})
}

// connect is redisconn.Open; a URL that can not be read is wrong usage.
func connect(ctx context.Context, url string, cfg redisconn.Config) (redis.UniversalClient, error) {
	rdb, err := redisconn.Open(ctx, url, cfg)
	if errors.Is(err, redisconn.ErrURL) {
		return nil, usageError{fmt.Errorf("--redis: %w", err)}
	}
	return rdb, err
}

// openRedis connects to what --redis names, or starts the embedded default.
func (n *node) openRedis(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	url := n.cfg.Redis
	if url == "" {
		server, err := redisconn.Embedded(ctx, redisconn.EmbeddedConfig{})
		if err != nil {
			return fmt.Errorf("embedded Redis: %w", err)
		}
		n.embedded, url = server, server.URL()
	}
	rdb, err := connect(ctx, url, redisconn.Config{Name: "gateway", PoolSize: 64})
	if err != nil {
		n.closeRedis()
		return err
	}
	n.rdb = rdb
	return nil
}

func (n *node) closeRedis() {
	if n.rdb != nil {
		_ = n.rdb.Close()
	}
	if n.embedded != nil {
		_ = n.embedded.Close()
	}
}
