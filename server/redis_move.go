package server

import (
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/redisconn"
)

// redisServerChanged logs that another server answers at the address of Redis. After a move it
// tells the players: what the former server acknowledged last may be gone.
func (n *node) redisServerChanged(c redisconn.ServerChange) {
	fields := []zap.Field{
		zap.String("kind", string(c.Kind)), zap.Stringer("from", c.From), zap.Stringer("to", c.To), zap.Duration("paused", c.Paused),
	}
	n.outage.noteServer(c.Kind)
	n.promises.wake.Notify()
	if c.Kind != redisconn.Moved {
		n.log.Warn("another server answers at the address of Redis", fields...)
		return
	}
	n.log.Error("Redis has moved: another server with other data answers at its address, and everything was dialled anew; "+
		"compare the trades of both with gateway trade audit --against", fields...)
	if err := n.gateway.SendMoved(); err != nil {
		n.log.Error("players could not be told that Redis has moved", zap.Error(err))
	}
}

// redisUnsettled logs that writes are refused, or go on, because two servers answer in turn.
func (n *node) redisUnsettled(isUnsettled bool) {
	if isUnsettled {
		n.log.Error("this node is not ready: two servers answer at the address of Redis in turn")
		return
	}
	n.log.Warn("one server answers at the address of Redis again")
}
