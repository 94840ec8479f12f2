package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/internal/tlsserve"
	"github.com/aeturnis/realtime/redisconn"
)

// redisWaitTick is how often a start asks whether Redis is there. The client dials more seldom.
const redisWaitTick = 50 * time.Millisecond

// waitForRedis returns when Redis answers, or ctx ends. Meanwhile this node answers that it lives
// and is not ready. After Config.RedisWait, and at once where waiting does not help, the error
// wraps redisconn.ErrUnreachable.
func (n *node) waitForRedis(ctx context.Context, public, admin net.Listener) error {
	begun := time.Now()
	err := n.redis.ping(ctx)
	if err == nil || ctx.Err() != nil {
		return nil
	}
	if !isRedisAway(err) || n.cfg.RedisWait <= 0 {
		return n.unreachable(err)
	}
	defer n.serveWhileWaiting(public, admin)()
	n.outage.lines.begin() // one line says that it is away, and one that it is there
	defer n.outage.lines.end()
	told := map[string]bool{}
	tick := time.NewTicker(redisWaitTick)
	defer tick.Stop()
	for {
		if why := redisx.UnavailableReason(err); !told[why] {
			told[why] = true
			n.log.Warn("waiting for Redis", zap.String("redis", redisconn.Redact(n.redisURL())), zap.String("why", why))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		switch err = n.redis.ping(ctx); {
		case err == nil:
			n.log.Info("Redis is there", zap.Duration("waited", time.Since(begun)))
			return nil
		case !isRedisAway(err) || time.Since(begun) >= n.cfg.RedisWait:
			return n.unreachable(err)
		}
	}
}

// ping asks Redis for one answer.
func (r *redisServices) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return r.client.Ping(ctx).Err()
}

// isRedisAway tells whether an operator does not have to mend anything here: Redis may come by
// itself.
func isRedisAway(err error) bool {
	switch redisx.RefusalWord(err) {
	case "NOAUTH", "WRONGPASS":
		return false
	}
	return redisconn.IsUnavailable(err)
}

func (n *node) unreachable(err error) error {
	return fmt.Errorf("%s: %w: %w", redisconn.Redact(n.redisURL()), redisconn.ErrUnreachable, err)
}

// serveWhileWaiting answers at the node's addresses until stop is called, which leaves the
// listeners open for those who serve next.
func (n *node) serveWhileWaiting(public, admin net.Listener) (stop func()) {
	var servers []*http.Server
	var running sync.WaitGroup
	for _, l := range []net.Listener{public, admin} {
		if l == nil {
			continue
		}
		s := n.newHTTPServer(n.waitingRoutes(l == admin))
		s.SetKeepAlivesEnabled(false) // who serves next gets a connection of its own
		lent := &lentListener{l}
		servers = append(servers, s)
		var clients *tlsserve.Authorities
		if l == admin {
			clients = n.tls.adminClients
		}
		running.Go(func() { _ = s.Serve(n.tls.secure(lent, clients)) }) // it ends with stop
	}
	return func() {
		for _, s := range servers {
			shutDownHTTP(s)
		}
		running.Wait()
		for _, l := range []net.Listener{public, admin} {
			if l != nil {
				setAcceptDeadline(l, time.Time{})
			}
		}
	}
}

// waitingRoutes returns what is answered while the node waits for Redis.
func (n *node) waitingRoutes(isForOperators bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health/live", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /health/ready", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "redis down"})
	})
	mux.HandleFunc("GET /health/redis", func(w http.ResponseWriter, _ *http.Request) { n.writeRedisHealth(w, isForOperators) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fault.Unavailable("redis", redisx.RetryAfter, nil).WriteProblem(w)
	})
	if isForOperators {
		return n.guardOperators(mux)
	}
	return mux
}

// A lentListener is a listener that stays open when it is closed: Accept ends, until its deadline
// is set again.
type lentListener struct{ net.Listener }

// Close makes Accept fail from now on.
func (l *lentListener) Close() error {
	setAcceptDeadline(l.Listener, time.Unix(1, 0))
	return nil
}

// setAcceptDeadline sets when Accept fails; those of TCP can.
func setAcceptDeadline(l net.Listener, at time.Time) {
	if tcp, ok := l.(interface{ SetDeadline(at time.Time) error }); ok {
		_ = tcp.SetDeadline(at)
	}
}
