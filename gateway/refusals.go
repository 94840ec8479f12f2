package gateway

import (
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/engineio"
)

// A refusedClient is what is known of a client that is turned away, besides its address.
type refusedClient struct {
	player event.Player // none before its session was read
	// The page's origin, and the hosts that it may have beside those that are configured: why a page
	// may not use the cookie.
	origin, host string
}

// originOf returns the details origin and host of a refusal; other refusals have none.
func originOf(f *fault.Fault) (c refusedClient) {
	c.origin, _ = f.Detail("origin").(string)
	c.host, _ = f.Detail("host").(string)
	return c
}

// reportRefusal counts and logs a client that was turned away before it was connected. Every
// refusal passes here and nowhere else: those by HTTP, those of a CONNECT, and connections that end
// before their CONNECT was judged. cause is why a client could not be judged, or nil.
func (g *Gateway) reportRefusal(r engineio.Refused, cause error, about refusedClient) {
	g.metrics.countRefused(r.Code)
	fields := []zap.Field{
		zap.String("addr", r.Addr), zap.String("transport", r.Transport), zap.String("code", r.Code), zap.String("reason", r.Reason),
	}
	if r.Status != 0 {
		fields = append(fields, zap.Int("status", r.Status))
	}
	if about.player.UserID != "" {
		fields = append(fields, zap.String("user", about.player.UserID), sessionTagOf(about.player.SessionID))
	}
	if about.origin != "" {
		fields = append(fields, zap.String("origin", about.origin), zap.String("host", about.host))
	}
	if cause != nil {
		g.log.Warn("handshake could not be judged", append(fields, zap.Error(cause))...)
		return
	}
	g.log.Info("connection refused", fields...)
}
