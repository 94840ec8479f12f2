package gateway

import (
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway/engineio"
)

// reportRefusal counts and logs a client that was turned away before it was connected. Every
// refusal passes here and nowhere else: those by HTTP, those of a CONNECT, and connections that end
// before their CONNECT was judged. cause is why a client could not be judged, or nil.
func (g *Gateway) reportRefusal(r engineio.Refused, cause error, more ...zap.Field) {
	g.metrics.countRefused(r.Code)
	fields := append([]zap.Field{
		zap.String("addr", r.Addr), zap.String("transport", r.Transport), zap.String("code", r.Code), zap.String("reason", r.Reason),
	}, more...)
	if r.Status != 0 {
		fields = append(fields, zap.Int("status", r.Status))
	}
	if cause != nil {
		g.log.Warn("handshake could not be judged", append(fields, zap.Error(cause))...)
		return
	}
	g.log.Info("connection refused", fields...)
}
