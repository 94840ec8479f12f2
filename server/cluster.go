package server

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/redisx"
)

// clusterConfig returns how this node joins the other gateways, and Node servers with
// @socket.io/redis-adapter, that use the same Redis. An embedded Redis has no other node, but the
// log of what is cast, without which nobody is recovered; it returns nil for one without a log.
//
// In Redis, a pub/sub channel belongs to the server and not to one of its databases. So without a
// ClusterPrefix, nodes on a database other than 0 use channels that begin with
// "socket.io:<database>". The option "key" of Node's adapter must be the same text.
func (n *node) clusterConfig() *socketio.ClusterConfig {
	isAlone := n.redis.embedded != nil
	if isAlone && n.cfg.Recovery <= 0 {
		return nil
	}
	c := &socketio.ClusterConfig{Redis: n.redis.client, Prefix: n.cfg.ClusterPrefix, JoinWindow: n.cfg.ClusterJoinWindow, Tracer: n.tracer}
	if isAlone {
		c.JoinWindow = -1
	}
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

// logRecovery says at start whether clients can go on with connections that have ended, and why
// not.
func (n *node) logRecovery() {
	why := ""
	switch {
	case n.cfg.Recovery <= 0:
		why = "--recovery is 0"
	case redisx.IsCluster(n.redis.client):
		why = "Redis is a Cluster, where casts have no one order"
	}
	n.log.Info("connection state recovery", zap.Bool("on", why == ""), zap.String("why", why), zap.Duration("for", max(0, n.cfg.Recovery)))
}
