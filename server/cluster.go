package server

import (
	"fmt"

	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/redisx"
)

// clusterConfig returns how this node joins the other gateways, and Node servers with
// @socket.io/redis-adapter, that use the same Redis. It returns nil with an embedded Redis, which
// nobody else uses. Redis has no databases where it publishes. So nodes that chose another than 0
// are kept apart by the names of their channels, unless ClusterPrefix says how: the adapter's
// option "key" is then "socket.io:<database>".
func (n *node) clusterConfig() *socketio.ClusterConfig {
	if n.redis.embedded != nil {
		return nil
	}
	c := &socketio.ClusterConfig{Redis: n.redis.client, Prefix: n.cfg.ClusterPrefix}
	if c.Prefix != "" {
		return c
	}
	c.Prefix = "socket.io"
	if client := redisx.SingleServer(n.redis.client); client != nil && client.Options().DB != 0 {
		c.Prefix += fmt.Sprintf(":%d", client.Options().DB)
	}
	return c
}
