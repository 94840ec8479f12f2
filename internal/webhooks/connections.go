package webhooks

import (
	"context"
	"crypto/rand"
	_ "embed"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

var (
	//go:embed connections.lua
	connectionsLua string
	//go:embed sweep.lua
	sweepLua string
)

const (
	maxChanges   = 16_384 // of connections that wait for Redis; beyond it they are compared later
	changesAtOne = 100    // in one call
	beatEvery    = time.Second
	compareEvery = time.Minute
	deadBeats    = 6 // looks, one a second, at a node that does not raise its number
)

// Connections tells Connected and Disconnected of the connections of one node. It is a
// gateway.ConnectionObserver, whose methods never wait.
//
// While Redis takes what is written, both are written within milliseconds. A node that is killed
// right after a connection was admitted has told nothing of it, neither its beginning nor its end;
// every beginning that was written gets an end, by another node when this one dies.
type Connections struct {
	rdb     redis.UniversalClient
	node    string // name, for people
	id      string // of this run of the node
	metrics *metrics

	tell  *redisx.Script
	beats int64 // the node's number; of the goroutine of Run

	mu       sync.Mutex
	open     map[string]string // connection to what is told of it, JSON; guarded by mu
	changes  []change          // that wait for Redis; guarded by mu
	number   uint64            // of the newest change; guarded by mu
	mustDiff bool              // changes were left out, or Redis may have lost them; guarded by mu
	wake     chan struct{}
}

// A change is the beginning or the end of a connection.
type change struct {
	number             uint64 // ascends; with the node's id it is the id of the event
	conn, data, reason string // data is "" for an end
}

// connectionData is what is told of a connection.
type connectionData struct {
	UserID      string `json:"userId"`
	CharacterID string `json:"characterId,omitzero"`
	Session     string `json:"session"` // its hash, because the id is a secret
	Connection  string `json:"connection"`
	Address     string `json:"address"`
	Node        string `json:"node"`
}

// NewConnections returns what tells the connections of a node, nil when neither is told.
func (d *Dispatcher) NewConnections(node string) *Connections {
	o := d.cfg.Outbox
	if !o.Has(Connected) && !o.Has(Disconnected) {
		return nil
	}
	return &Connections{
		mustDiff: true,
		rdb:      d.cfg.Redis, node: node, id: rand.Text(), metrics: d.metrics, tell: o.connectionsScript(),
		open: map[string]string{}, wake: make(chan struct{}, 1),
	}
}

// connectionsScript is connections.lua. One script raises the number and tells beginnings and ends:
// Redis knows it or not, so a later change is never made before an earlier one.
func (o *Outbox) connectionsScript() *redisx.Script {
	return redisx.NewScript(o.luaFunctions() + connectionsLua)
}

// Connected notes the beginning of a connection.
func (c *Connections) Connected(p event.Player) {
	data, err := json.Marshal(connectionData{p.UserID, p.CharacterID, identity.SessionHash(p.SessionID), p.Conn, p.Addr, c.node})
	if err != nil { // never: ids are valid UTF-8
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, isOpen := c.open[p.Conn]; isOpen { // a client came back before its end was noticed
		return
	}
	c.open[p.Conn] = string(data)
	c.queueChange(change{conn: p.Conn, data: string(data)})
}

// CharacterChanged does nothing: no event tells it.
func (c *Connections) CharacterChanged(event.Player) {}

// Disconnected notes the end of a connection without a reason.
func (c *Connections) Disconnected(p event.Player) { c.DisconnectedBecause(p, "") }

// DisconnectedBecause notes the end of a connection.
func (c *Connections) DisconnectedBecause(p event.Player, reason string) {
	text, _ := json.Marshal(reason)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, isOpen := c.open[p.Conn]; !isOpen {
		return
	}
	delete(c.open, p.Conn)
	c.queueChange(change{conn: p.Conn, reason: string(text)})
}

// queueChange has a change written. The caller holds mu.
func (c *Connections) queueChange(ch change) {
	if len(c.changes) >= maxChanges {
		c.mustDiff = true
		return
	}
	c.number++
	ch.number = c.number
	c.changes = append(c.changes, ch)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run writes what changes until ctx ends, and then what is left, for two seconds at most.
func (c *Connections) Run(ctx context.Context) error {
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	_ = c.writeChanges(ctx, nil) // it is tried again at the next beat
	compared := time.Now()
	for {
		select {
		case <-ctx.Done():
			c.writeRest()
			return nil
		case <-beat.C:
			_ = c.writeChanges(ctx, nil)
			if time.Since(compared) > compareEvery { // a Redis that failed over may have forgotten a little
				compared = time.Now()
				c.noteDifferences()
			}
			c.queueDifferences(ctx)
			c.flushChanges(ctx)
		case <-c.wake:
			c.flushChanges(ctx)
		}
	}
}

// writeRest writes what is left when the node stops, and forgets the node.
func (c *Connections) writeRest() {
	ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
	defer cancel()
	c.noteDifferences()
	c.queueDifferences(ctx)
	if !c.flushChanges(ctx) {
		return // another node tells the rest
	}
	if n, err := c.rdb.HLen(ctx, keys.WebhookConnections(c.id)).Result(); err == nil && n == 0 {
		_ = c.rdb.HDel(ctx, keys.WebhookNodes, c.id).Err()
	}
}

// noteDifferences notes that Redis may not know what the connections are.
func (c *Connections) noteDifferences() {
	c.mu.Lock()
	c.mustDiff = true
	c.mu.Unlock()
}

// flushChanges writes changes, and reports whether all are written. What Redis does not take stays,
// and so does what is left after beatEvery: the node must be seen to live.
func (c *Connections) flushChanges(ctx context.Context) bool {
	for begun := time.Now(); time.Since(begun) < beatEvery; {
		c.mu.Lock()
		part := slices.Clone(c.changes[:min(len(c.changes), changesAtOne)])
		c.mu.Unlock()
		if len(part) == 0 {
			return true
		}
		if err := c.writeChanges(ctx, part); err != nil {
			c.metrics.retries.Inc()
			return false
		}
		c.mu.Lock()
		c.changes = slices.Delete(c.changes, 0, len(part))
		if len(c.changes) == 0 {
			c.changes = nil // so that a storm leaves no memory behind
		}
		c.mu.Unlock()
	}
	return false
}

// writeChanges raises the node's number and writes changes: all of them, or, with an error, perhaps
// some. When they are written again, those that were written are not told twice. When the number
// begins anew, another node believed this one dead, or Redis has lost it: then all connections are
// compared.
func (c *Connections) writeChanges(ctx context.Context, part []change) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	args := make([]any, 0, 1+4*len(part))
	args = append(args, c.id)
	for _, ch := range part {
		args = append(args, ch.number, ch.conn, ch.data, ch.reason)
	}
	beats, err := c.tell.Do(ctx, c.rdb, []string{keys.WebhookConnections(c.id), keys.WebhookNodes}, args...).Int64()
	if err != nil {
		return err
	}
	if beats <= c.beats {
		c.noteDifferences()
	}
	c.beats = beats
	return nil
}

// queueDifferences has the differences written between the connections and what Redis knows of
// them, when changes were left out. It is called by the goroutine that writes the changes.
func (c *Connections) queueDifferences(ctx context.Context) {
	c.mu.Lock()
	mustDiff := c.mustDiff && len(c.changes) < maxChanges/2
	c.mu.Unlock()
	if !mustDiff {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	known, err := c.rdb.HKeys(ctx, keys.WebhookConnections(c.id)).Result()
	if err != nil {
		return
	}
	isKnown := make(map[string]bool, len(known))
	for _, conn := range known {
		isKnown[conn] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mustDiff = false
	isQueued := make(map[string]bool, len(c.changes)) // what waits makes these equal
	for _, ch := range c.changes {
		isQueued[ch.conn] = true
	}
	for conn := range isKnown {
		if _, isOpen := c.open[conn]; !isOpen && !isQueued[conn] {
			c.queueChange(change{conn: conn, reason: `""`})
		}
	}
	for conn, data := range c.open {
		if !isKnown[conn] && !isQueued[conn] {
			c.queueChange(change{conn: conn, data: data})
		}
	}
}

// A sweeper finds nodes that have died, by numbers that they do not raise any more while Redis
// answers.
type sweeper struct {
	seen map[string]observedNode // by id
}

// An observedNode is what the sweeper knows of a node.
type observedNode struct {
	beats string
	looks int // at this number, after the first
}

// forgetNodes has the sweeper begin anew, because Redis did not answer: the nodes could not reach
// it either.
func (s *sweeper) forgetNodes() { s.seen = nil }

// findDeadNodes takes the nodes' numbers, and returns the nodes that are dead.
func (s *sweeper) findDeadNodes(beats map[string]string) (dead []string) {
	seen := make(map[string]observedNode, len(beats))
	for id, n := range beats {
		o := observedNode{beats: n}
		if last, isKnown := s.seen[id]; isKnown && last.beats == n {
			o.looks = last.looks + 1
		}
		if o.looks >= deadBeats {
			dead = append(dead, id)
		}
		seen[id] = o
	}
	s.seen = seen
	return dead
}

// sweepDead tells the ends of the connections of dead nodes, whose numbers are in beats.
func (d *Dispatcher) sweepDead(ctx context.Context, dead []string, beats map[string]string) {
	script := redisx.NewScript(d.cfg.Outbox.luaFunctions() + sweepLua)
	for _, id := range dead {
		key := keys.WebhookConnections(id)
		conns, err := d.cfg.Redis.HKeys(ctx, key).Result()
		if err != nil {
			return
		}
		parts := slices.Collect(slices.Chunk(conns, changesAtOne))
		if len(parts) == 0 {
			parts = [][]string{nil}
		}
		ended := 0
		for _, part := range parts {
			args := []any{id, beats[id]}
			for _, conn := range part {
				args = append(args, conn)
			}
			n, err := script.Do(ctx, d.cfg.Redis, []string{key, keys.WebhookNodes}, args...).Int()
			if err != nil {
				return // the rest at the next look
			}
			if n < 0 { // it lives after all
				break
			}
			ended += n
		}
		delete(d.sweeper.seen, id) // it may come back and count anew
		if ended > 0 {
			d.cfg.Log.Warn("a node was lost: the ends of its connections are told", zap.Int("connections", ended))
		}
	}
}
