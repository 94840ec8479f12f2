package gateway

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aeturnis/realtime/gateway/socketio"
)

// This file shows operators what happens on this node while they watch, and does what they ask for
// to connections of all nodes. While nobody watches, nothing is kept.

// Totals count what happened since the node started.
type Totals struct {
	Opened int64            // connections of players
	Closed map[string]int64 // by reason
	Events int64            // that clients sent
}

// Totals returns the counts of the metrics.
func (g *Gateway) Totals() Totals {
	t := Totals{Closed: map[string]int64{}}
	registry := prometheus.NewRegistry()
	registry.MustRegister(g.metrics.opens, g.metrics.closes, g.metrics.events)
	families, _ := registry.Gather() // counters can always be gathered
	for _, family := range families {
		for _, m := range family.GetMetric() {
			count := int64(m.GetCounter().GetValue())
			switch family.GetName() {
			case "gateway_connections_opened_total":
				t.Opened += count
			case "gateway_events_total":
				t.Events += count
			default:
				t.Closed[m.GetLabel()[0].GetValue()] += count
			}
		}
	}
	return t
}

// CountPolling counts the connections, those of operators too, that are not websockets.
func (g *Gateway) CountPolling() (polling int) {
	for _, c := range g.io.Engine().Conns() {
		if c.TransportName() == "polling" {
			polling++
		}
	}
	return polling
}

// An EventSample is an event that a client sent. What it carries is not kept.
type EventSample struct {
	Number int64 // since the node started
	At     time.Time
	Conn   string
	Event  string
	Bytes  int // of the payload
}

// Bounds of the samples.
const (
	maxSamples       = 100 // that are kept
	samplesPerSecond = 20
	watchFor         = 10 * time.Second // how long samples are taken after they were asked for
)

// eventSamples are some of the newest events, while somebody watches.
type eventSamples struct {
	isOn atomic.Bool

	mu        sync.Mutex
	until     time.Time     // guarded by mu
	taken     int64         // guarded by mu
	kept      []EventSample // oldest first; guarded by mu
	second    time.Time     // when the current second began; guarded by mu
	perSecond int           // taken in it; guarded by mu
}

// isWanted reports whether somebody watches.
func (s *eventSamples) isWanted() bool { return s.isOn.Load() }

// take keeps an event, unless there were many in this second.
func (s *eventSamples) take(c *conn, r *route, e *socketio.Event, at time.Time) {
	if r == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.After(s.until) {
		s.isOn.Store(false)
		s.kept = nil
		return
	}
	if at.Sub(s.second) >= time.Second {
		s.second, s.perSecond = at, 0
	}
	if s.perSecond++; s.perSecond > samplesPerSecond {
		return
	}
	s.taken++
	if len(s.kept) >= maxSamples {
		s.kept = slices.Delete(s.kept, 0, 1)
	}
	s.kept = append(s.kept, EventSample{s.taken, at, c.player.Load().Conn, r.Name, len(e.Args)})
}

// WatchEvents returns the newest of the events that clients sent, at most 20 of each second, oldest
// first. They are taken for ten seconds after each call.
func (g *Gateway) WatchEvents() []EventSample {
	s := &g.samples
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = time.Now().Add(watchFor)
	s.isOn.Store(true)
	return slices.Clone(s.kept)
}

var connectionRoom = regexp.MustCompile(`^[A-Za-z0-9_-]{20}$`)

// IsReservedRoom reports whether what is cast to a room is meant for one user, or for one
// connection, whose id is the room's name.
func IsReservedRoom(room string) bool { return IsUserRoom(room) || connectionRoom.MatchString(room) }

// IsUserRoom reports whether a room is a user's own: it has exactly the connections of the user.
func IsUserRoom(room string) bool { return strings.HasPrefix(room, userRoom("")) }

// MakeJoin has the connections of a target join a room, on all nodes. A target is a room, or the id
// of a connection. Features are not told.
func (g *Gateway) MakeJoin(target, room string) { g.nsp.MakeJoin(target, room) }

// MakeLeave has the connections of a target leave a room, on all nodes. Features are not told.
func (g *Gateway) MakeLeave(target, room string) { g.nsp.MakeLeave(target, room) }

// MakeDisconnect disconnects the connections of a target, on all nodes: of a user, or by its id, in
// each namespace; of another room, in the main one. With closing, their transports as well, with
// all namespaces.
func (g *Gateway) MakeDisconnect(target string, closing bool) {
	for _, s := range g.namespaces {
		if s.isMain() || IsReservedRoom(target) {
			s.nsp.MakeDisconnect(target, closing)
		}
	}
}
