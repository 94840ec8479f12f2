package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/nodecall"
	"github.com/aeturnis/realtime/internal/sdnotify"
)

// waitForReturns is how long after an operator's drain the players who come back on other nodes are
// counted: they were told to wait for half a second to five and a half.
const waitForReturns = 8 * time.Second

// drains are the drains of this node that operators ordered.
type drains struct {
	mu      sync.Mutex
	running sync.WaitGroup
	cancel  context.CancelFunc // of the drain that runs; nil when none does; guarded by mu
	state   *nodecall.Drain    // of the last one; guarded by mu
}

// last returns how the last drain goes, or went; nil before the first.
func (d *drains) last() *nodecall.Drain {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state == nil {
		return nil
	}
	state := *d.state
	return &state
}

var (
	errIsDraining  = errors.New("the node is being drained already")
	errNotDraining = errors.New("the node is not being drained")
)

// answerDrain begins a drain: the node refuses new connections, and closes the ones it has over
// Config.DrainFor. It goes on to serve what is left, until answerUndrain or its end.
func (n *node) answerDrain(ctx context.Context, by string, _ []byte) (any, error) {
	d, by := &n.drains, cutText(by)
	d.mu.Lock()
	if d.cancel != nil || n.gateway.Draining() {
		d.mu.Unlock()
		return nil, errIsDraining
	}
	draining, cancel := context.WithCancel(n.background)
	d.cancel = cancel
	d.state = &nodecall.Drain{By: by, StartedAt: time.Now().UnixMilli(), Connections: n.gateway.Connections(), Open: n.gateway.Connections()}
	n.gateway.Refuse()
	d.running.Go(func() { n.drainForOperator(draining, by) })
	d.mu.Unlock()
	return n.answerStatus(ctx, by, nil)
}

// answerUndrain accepts new connections again.
func (n *node) answerUndrain(ctx context.Context, by string, _ []byte) (any, error) {
	d := &n.drains
	d.mu.Lock()
	if d.state == nil || !n.gateway.Draining() || n.background.Err() != nil {
		d.mu.Unlock()
		return nil, errNotDraining
	}
	if d.cancel != nil {
		d.cancel()
	}
	n.gateway.Admit()
	d.mu.Unlock()
	n.log.Info("drain ended: new connections are accepted again", zap.String("by", cutText(by)))
	return n.answerStatus(ctx, by, nil)
}

func (n *node) drainForOperator(ctx context.Context, by string) {
	d := &n.drains
	over := max(0, time.Duration(n.drainFor.Load()))
	n.log.Info("draining", zap.Int("connections", n.gateway.Connections()), zap.Duration("for", over), zap.String("by", by))
	within, cancel := context.WithTimeout(ctx, over+5*time.Second)
	report := n.gateway.Drain(within, over)
	cancel()
	note := func(back int, isDone bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.state.Closed, d.state.Left, d.state.Open = report.Closed, report.Left, report.Open
		d.state.Users, d.state.Back, d.state.TookMs, d.state.IsDone = len(report.Users), back, report.Took.Milliseconds(), isDone
		if isDone {
			d.cancel = nil
		}
	}
	note(0, false)
	back := 0
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for begun := time.Now(); ; {
		back = n.countReturned(ctx, report)
		if note(back, false); back >= len(report.Users) || time.Since(begun) > waitForReturns {
			break
		}
		select {
		case <-again.C:
			continue
		case <-ctx.Done():
		}
		break
	}
	n.logDrain(report, back, by)
	note(back, true)
}

// drainPlayers tells clients to come back elsewhere, spread over DrainFor. It ends a drain that an
// operator ordered.
func (n *node) drainPlayers() {
	n.drains.mu.Lock()
	if n.drains.cancel != nil {
		n.drains.cancel()
	}
	n.drains.mu.Unlock()
	n.notifyManager(sdnotify.Stopping, sdnotify.Status("sends its players to other nodes"))
	over := max(0, time.Duration(n.drainFor.Load()))
	n.log.Info("draining", zap.Int("connections", n.gateway.Connections()), zap.Duration("for", over), zap.String("by", "the end of the process"))
	ctx, cancel := context.WithTimeout(context.Background(), over+time.Second)
	defer cancel()
	report := n.gateway.Drain(ctx, over)
	n.logDrain(report, n.countReturned(ctx, report), "the end of the process")
}

// countReturned counts the users of a drain who are on other nodes; 0 while that is not known.
func (n *node) countReturned(ctx context.Context, report gateway.DrainReport) int {
	if len(report.Users) == 0 {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	back, _ := n.features.presence.CountElsewhere(ctx, report.Users)
	return back
}

// logDrain tells how a drain went.
func (n *node) logDrain(report gateway.DrainReport, back int, by string) {
	n.log.Info("drained", zap.Int("connections", report.Connections), zap.Int("closed", report.Closed), zap.Int("left", report.Left),
		zap.Int("open", report.Open), zap.Int("users", len(report.Users)), zap.Int("back", back), zap.Int64("ms", report.Took.Milliseconds()), zap.String("by", by))
}
