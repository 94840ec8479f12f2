package server

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/throttle"
)

// throttling is how this node limits.
func (n *node) throttling() throttle.Config {
	return throttle.Config{
		NoLocal: n.cfg.NoLocalLimits,
		Nodes: func() int {
			if n.gateway == nil {
				return 1
			}
			return n.gateway.Nodes()
		},
		OnChange:   n.limitsMoved,
		OnError:    n.limitFailed,
		OnRefresh:  func(err error) { n.log.Warn("limits set at run time could not be read", zap.Error(err)) },
		OnPolicies: func() { n.log.Info("limits changed"); n.gateway.ResendLimits() },
	}
}

// limitsMoved is called when Redis is too slow to be asked, too, while redisChanged is not.
func (n *node) limitsMoved(local bool, cause error) {
	n.log.Warn("limits moved", zap.Bool("local", local), zap.Error(cause))
	n.tellStatus(n.monitor.State())
}

func (n *node) limitFailed(r *http.Request, err error) {
	n.log.Error("request could not be limited", zap.String("path", r.URL.Path), zap.Error(err))
}

// connects spends the policy `connect`: the first that is done for an address that connects.
func (n *node) connects(r *http.Request) *engineio.Refusal {
	d, err := n.limits.Check(r.Context(), "connect", n.byAddress(r))
	var f *fault.Fault
	switch {
	case errors.As(err, &f):
		return &engineio.Refusal{Status: f.Status(), Message: f.Message, RetryAfter: 2 * time.Second}
	case err != nil:
		if r.Context().Err() == nil { // else the client has left
			n.limitFailed(r, err)
		}
		return &engineio.Refusal{Status: http.StatusServiceUnavailable, Message: "Temporarily unavailable", RetryAfter: 2 * time.Second}
	case !d.Allowed:
		return &engineio.Refusal{Status: http.StatusTooManyRequests, Message: fault.ErrRateLimited.Message, RetryAfter: d.RetryAfter}
	}
	return nil
}

// publishLimits reads what operators have set, and stores what this node was given. Without
// Redis it goes on with what it was given, and Run reads the rest later.
func (n *node) publishLimits(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := errors.Join(n.limits.Refresh(ctx), n.limits.Publish(ctx)); err != nil {
		n.log.Warn("limits set at run time could not be read", zap.Error(err))
	}
}

// reload reads the limits in the file and the environment again at every SIGHUP. Settings
// that are wrong change nothing.
func (n *node) reload(ctx context.Context) error {
	if n.cfg.ReloadPolicies == nil {
		<-ctx.Done()
		return nil
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		}
		policies, err := n.cfg.ReloadPolicies()
		if err == nil {
			err = n.limits.SetPolicies(policies)
		}
		if err != nil {
			n.log.Error("settings could not be read again", zap.Error(err))
			continue
		}
		n.log.Info("settings read again: limits")
		n.publishLimits(ctx)
	}
}
