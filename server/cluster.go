package server

import (
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/gateway/socketio"
)

// cluster joins the other gateways, and Node servers with @socket.io/redis-adapter, that
// use the same Redis. An embedded Redis is nobody else's. Redis knows no databases where it
// publishes, so those who chose another than 0 are kept apart by the names of their
// channels, unless --cluster-prefix says how: the adapter's option "key" is then
// "socket.io:<database>".
func (n *node) cluster() *socketio.ClusterConfig {
	if n.embedded != nil {
		return nil
	}
	c := &socketio.ClusterConfig{Redis: n.rdb, Prefix: n.cfg.ClusterPrefix}
	if c.Prefix != "" {
		return c
	}
	c.Prefix = "socket.io"
	if r, ok := n.rdb.(*redis.Client); ok && r.Options().DB != 0 {
		c.Prefix += fmt.Sprintf(":%d", r.Options().DB)
	}
	return c
}
