package server

import (
	"fmt"

	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/redisx"
)

// clusterConfig returns how this node joins the other gateways, and Node servers with
// @socket.io/redis-adapter, that use the same Redis. It returns nil with an embedded Redis, which
// no other node uses.
//
// In Redis, a pub/sub channel belongs to the server and not to one of its databases. So without a
// ClusterPrefix, nodes on a database other than 0 use channels that begin with
// "socket.io:<database>". The option "key" of Node's adapter must be the same text.
func (n *node) clusterConfig() *socketio.ClusterConfig {
	if n.redis.embedded != nil {
		return nil
	}
	c := &socketio.ClusterConfig{Redis: n.redis.client, Prefix: n.cfg.ClusterPrefix, JoinWindow: n.cfg.ClusterJoinWindow}
	if n.cfg.Recovery > 0 {
		c.Log = &socketio.LogConfig{KeepFor: n.cfg.Recovery, MemoryBytes: n.cfg.RecoveryMemory, Server: n.redis.moves.Server}
	}
	if c.Prefix != "" {
		return c
	}
	c.Prefix = "socket.io"
	if client := redisx.SingleServer(n.redis.client); client != nil && client.Options().DB != 0 {
		c.Prefix += fmt.Sprintf(":%d", client.Options().DB)
	}
	return c
}
