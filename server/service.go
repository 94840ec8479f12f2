package server

import (
	"context"
	"sync"

	"go.uber.org/zap"
)

// A ServiceManager is told how the server is, as systemd is by sd_notify(3).
type ServiceManager interface {
	// Notify sends states such as READY=1 and STATUS=….
	Notify(states ...string) error
	// Watch says again and again that the server lives, while isAlive says so, until ctx ends.
	Watch(ctx context.Context, isAlive func() bool)
}

// notifyManager tells Config.ServiceManager how the node is.
func (n *node) notifyManager(states ...string) {
	if n.cfg.ServiceManager == nil {
		return
	}
	if err := n.cfg.ServiceManager.Notify(states...); err != nil {
		n.log.Warn("the service manager could not be told", zap.Error(err))
	}
}

// watchLife tells Config.ServiceManager that the node lives, until stop is called.
func (n *node) watchLife() (stop func()) {
	if n.cfg.ServiceManager == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.cfg.ServiceManager.Watch(ctx, n.isAlive) })
	return func() {
		cancel()
		running.Wait()
	}
}

// isAlive takes the locks that every connection needs, and returns true. When one of them is never
// given back it does not return: then nothing but a new start helps. It asks nothing of Redis or
// the network, because a new start does not bring those back.
func (n *node) isAlive() bool {
	if n.isServing.Load() {
		n.gateway.Connections()
		n.gateway.QueuedBytes()
	}
	return true
}
