package server

import (
	"context"
	"os"
	"time"

	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/adminui"
	"github.com/aeturnis/realtime/internal/nodecall"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/throttle"
)

// newAdminUI makes the namespace of operators, or nil where there is none.
func (n *node) newAdminUI(connections adminui.Connections) (*adminui.UI, error) {
	c := &n.cfg
	if c.AdminUI == "off" {
		return nil, nil
	}
	users, err := adminui.OpenUsers(c.AdminUIUsersFile)
	if err != nil {
		return nil, usage.Errorf("--admin-ui-users-file: %w", err)
	}
	return adminui.New(adminui.Config{
		Users: users, MayChange: c.AdminUI == "full", Redis: n.redis.client, QueueBytes: c.OutboundQueue, Connections: connections,
		IsReserved: gateway.IsReservedRoom, SpendLogin: n.logins.spendOperatorLogin, Log: n.log,
	}), nil
}

// adminNamespace returns the namespaces of operators.
func (n *node) adminNamespace() map[string]socketio.Receiver {
	if n.adminUI == nil {
		return nil
	}
	return map[string]socketio.Receiver{adminui.Name: n.adminUI}
}

// spendOperatorLogin charges the policy `login` of an address. wait is how long it must wait.
func (l *logins) spendOperatorLogin(ctx context.Context, addr string) (wait time.Duration, err error) {
	d, err := l.limiter.Check(ctx, "login", throttle.Subject{IP: addr})
	if err != nil || d.Allowed {
		return 0, err
	}
	return max(d.RetryAfter, time.Millisecond), nil
}

// maxWatchedBytes bounds the connections that one answer lists.
const maxWatchedBytes = 2 << 20

// answerWatch says what happens on this node. Asking makes it take samples of events for ten
// seconds.
func (n *node) answerWatch(_ context.Context, _ string, raw []byte) (any, error) {
	var args nodecall.WatchArgs
	if err := readArgs(raw, &args); err != nil {
		return nil, err
	}
	list, total := n.gateway.Inspect(gateway.ConnectionQuery{By: "age", OneIn: args.OneIn, Most: max(0, min(args.Most, maxListed+1))})
	totals := n.gateway.Totals()
	hostname, _ := os.Hostname() // "" says that there is none
	out := nodecall.Watched{
		Hostname: hostname, PID: os.Getpid(), StartedAt: n.startedAt.UnixMilli(), Clients: n.gateway.Connections(), Polling: n.gateway.CountPolling(),
		Players: total, Opened: totals.Opened, Closed: totals.Closed, Events: totals.Events, List: []nodecall.Connection{}, Samples: []nodecall.EventSample{},
	}
	if n.adminUI != nil {
		out.Operators = n.adminUI.Count()
	}
	size := 0
	for _, c := range list {
		for _, room := range c.Rooms {
			size += len(room)
		}
		if size += 500; size > maxWatchedBytes {
			break
		}
		out.List = append(out.List, connectionView(c))
	}
	for _, e := range n.gateway.WatchEvents() {
		out.Samples = append(out.Samples, nodecall.EventSample{Number: e.Number, At: e.At.UnixMilli(), Conn: e.Conn, Event: e.Event, Bytes: e.Bytes})
	}
	return out, nil
}

// connectionView returns a connection as operators' commands have it.
func connectionView(c gateway.Connection) nodecall.Connection {
	return nodecall.Connection{
		Conn: c.Conn, UserID: c.UserID, Username: c.Username, CharacterID: c.CharacterID, Session: c.Session, Addr: c.Addr,
		Transport: c.Transport, OpenedAt: c.OpenedAt.UnixMilli(), Rooms: c.Rooms, QueuedBytes: c.QueuedBytes,
	}
}
