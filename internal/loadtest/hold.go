package loadtest

import (
	"context"
	"fmt"
)

// Hold opens Config.Clients connections, calls ready when all have joined, and keeps them idle
// until ctx ends. The clients answer heartbeats only. It serves to measure what many players cost a
// server while they connect, which is the time that Config.Watch is told, and while they are idle.
// The error says why not all connections could be opened, or how many of them the server ended.
func Hold(ctx context.Context, cfg Config, ready func()) error {
	r, err := newRun("ping", cfg)
	if err != nil {
		return err
	}
	opening, cancel := context.WithTimeout(ctx, r.cfg.maxDuration())
	defer cancel()
	if err := r.openSessions(opening); err != nil {
		return fmt.Errorf("sessions: %w", err)
	}
	defer r.closeSessions()
	defer r.disconnectAll()
	watch := r.cfg.Watch
	if watch == nil {
		watch = func(bool) {}
	}
	watch(true)
	if err := r.connectAllClients(opening); err != nil {
		return err
	}
	watch(false)
	ready()
	<-ctx.Done()
	r.disconnectAll()
	ended := 0
	for _, c := range r.clients {
		if c.lostConnection {
			ended++
		}
	}
	if ended > 0 {
		return fmt.Errorf("the server ended %d of %d connections", ended, len(r.clients))
	}
	return nil
}
