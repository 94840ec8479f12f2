package server

import (
	"context"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/redisconn"
)

// openRedis connects to what --redis names, or starts the embedded default.
func (n *node) openRedis(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	url := n.cfg.RedisURL
	if url == "" {
		server, err := redisconn.Embedded(ctx, redisconn.EmbeddedConfig{})
		if err != nil {
			return fmt.Errorf("embedded Redis: %w", err)
		}
		n.embedded, url = server, server.URL()
	}
	rdb, err := n.cfg.redisTarget(url).Open(ctx, redisconn.Config{Name: "gateway", PoolSize: 64})
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
