package sessions

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// ErrTooManyConnections refuses a connection of a user who has as many as Connections allows.
var ErrTooManyConnections = fault.New("TOO_MANY_CONNECTIONS", "You have too many connections.")

//go:embed take_connection.lua
var takeConnectionSource string

//go:embed renew_connected_node.lua
var renewConnectedNodeSource string

var (
	takeConnectionScript = redisx.NewScript(takeConnectionSource)
	renewNodeScript      = redisx.NewScript(renewConnectedNodeSource)
)

const (
	connectionsTTL = 24 * time.Hour // how long the connections of a user are kept in Redis
	// unsureDelay is how long a connection stays counted when Redis did not say whether it was: until
	// then the call that counts it may still be under way.
	unsureDelay = time.Minute
)

// Connections bounds how many connections a user has, over all nodes. Each node keeps its
// connections in the set of their user, and has a lease. The connections of a node without a lease
// do not count: they are removed when they stand in the way of a new one.
//
// A connection that Redis did not count, because it did not answer or lost its data, is admitted
// and counted later. So this bound may be exceeded then, and the caller bounds the connections of
// each node by itself.
type Connections struct {
	store *Store
	limit int
	lease time.Duration
	node  string

	ended    redisx.Signal // there are connections to be removed, or counted, in Redis
	hasLease atomic.Bool   // Redis has had a lease of this node

	mu         sync.Mutex
	lastNumber uint64
	held       map[string]heldConnection // by name; guarded by mu
	added      []releasedConnection      // to be counted in Redis; guarded by mu
	released   []releasedConnection      // to be removed in Redis; guarded by mu
	mustRetell bool                      // Redis may not have all of held; guarded by mu
}

// A heldConnection is one of this node.
type heldConnection struct {
	userID     string
	isAdmitted bool // else Redis is being asked
}

// A releasedConnection has ended, or is to be counted whatever the number.
type releasedConnection struct {
	name, userID string
	notBefore    time.Time // when it may be removed in Redis
}

// NewConnections returns a Connections for one node. limit is how many connections a user may have;
// 0 is no bound. Run keeps the lease of the node, which is 10 s when lease is 0.
func NewConnections(store *Store, limit int, lease time.Duration) *Connections {
	if lease <= 0 {
		lease = 10 * time.Second
	}
	return &Connections{store: store, limit: limit, lease: lease, node: randomID()[:16], ended: redisx.NewSignal(), held: map[string]heldConnection{}}
}

// Admit returns the ban of a user as Store.FindBan does, and in the same round trip counts a new
// connection of the user. release ends it, and may be called twice; it is never nil. The error is
// ErrTooManyConnections when the user has too many. That takes one more round trip, to find
// connections of nodes that have died, and another if there are some.
func (c *Connections) Admit(ctx context.Context, userID string) (ban Ban, release func(), err error) {
	if c.limit <= 0 {
		ban, err = c.store.FindBan(ctx, userID)
		return ban, func() {}, err
	}
	if !c.hasLease.Load() { // without one, another node would take our connections for those of a dead one
		_, _, _ = c.renewLease(ctx, c.lease) // if Redis does not answer, it does not count the connection either
	}
	c.mu.Lock()
	c.lastNumber++
	name := c.node + "|" + strconv.FormatUint(c.lastNumber, 36)
	c.held[name] = heldConnection{userID: userID}
	c.mu.Unlock()
	isUnsure := false
	release = sync.OnceFunc(func() { c.releaseConnection(name, userID, isUnsure) })

	call := c.takeCall(userID, name)
	ban, hasRun, err := c.store.findBanAndRun(ctx, userID, call)
	if !errors.Is(err, ErrNotFound) {
		isUnsure = !hasRun || call.Err() != nil
		release()
		return ban, release, err
	}
	isCounted, others, failed := parseTakeReply(call)
	if failed == nil && !isCounted {
		if isCounted, failed = c.takeFromDead(ctx, userID, name, others); failed == nil && !isCounted {
			c.askForRecount(ctx, userID)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if failed == nil && !isCounted {
		delete(c.held, name)
		return ban, func() {}, ErrTooManyConnections.With("limit", c.limit)
	}
	isUnsure = failed != nil
	c.mustRetell = c.mustRetell || isUnsure
	c.held[name] = heldConnection{userID, true}
	return ban, release, err
}

// AdmitReplacement counts a connection of a user, whatever their number, because it goes on with
// one that is counted and ends. It does not wait. release ends it, and may be called twice.
func (c *Connections) AdmitReplacement(userID string) (release func()) {
	if c.limit <= 0 {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastNumber++
	name := c.node + "|" + strconv.FormatUint(c.lastNumber, 36)
	c.held[name] = heldConnection{userID, true}
	c.added = append(c.added, releasedConnection{name: name, userID: userID})
	c.ended.Notify()
	return sync.OnceFunc(func() { c.releaseConnection(name, userID, false) })
}

// recountUsers is how many users a node looks at when it renews its lease: those refused last.
const recountUsers = 100

// askForRecount has each node remove, when it renews its lease, what is counted of a user and what
// it does not have: a failover may have forgotten that it had removed it.
func (c *Connections) askForRecount(ctx context.Context, userID string) {
	_, _ = c.store.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error { // else the next refusal asks
		now := time.Now()
		pipe.ZAdd(ctx, keys.CrowdedUsers, redis.Z{Score: float64(now.UnixMilli()), Member: userID})
		pipe.ZRemRangeByScore(ctx, keys.CrowdedUsers, "-inf", strconv.FormatInt(now.Add(-c.lease).UnixMilli(), 10))
		pipe.PExpire(ctx, keys.CrowdedUsers, c.lease)
		return nil
	})
}

// recountCrowded does what askForRecount asks for.
func (c *Connections) recountCrowded(ctx context.Context) {
	users, err := c.store.rdb.ZRevRange(ctx, keys.CrowdedUsers, 0, recountUsers-1).Result()
	if err != nil {
		return // it is asked for again
	}
	for _, userID := range users {
		names, err := c.store.rdb.SMembers(ctx, keys.UserConnections(userID)).Result()
		if err != nil {
			return
		}
		c.mu.Lock()
		for _, name := range names {
			node, _, _ := strings.Cut(name, "|")
			if _, isHeld := c.held[name]; node == c.node && !isHeld {
				c.released = append(c.released, releasedConnection{name: name, userID: userID})
			}
		}
		c.mu.Unlock()
	}
}

// takeFromDead counts a connection of a user who has too many, if some of them have ended: those of
// nodes that have no lease, and those that this node does not have.
func (c *Connections) takeFromDead(ctx context.Context, userID, name string, others []string) (isCounted bool, err error) {
	nodes := map[string][]string{}
	c.mu.Lock()
	for _, other := range others {
		node, _, _ := strings.Cut(other, "|")
		if _, isHeld := c.held[other]; !isHeld {
			nodes[node] = append(nodes[node], other)
		}
	}
	c.mu.Unlock()
	gone := nodes[c.node]
	delete(nodes, c.node)
	asked := make([]string, 0, len(nodes))
	for node := range nodes {
		asked = append(asked, node)
	}
	_, dead, err := c.renewLease(ctx, c.lease, asked...)
	if err != nil {
		return false, err
	}
	for _, node := range dead {
		gone = append(gone, nodes[node]...)
	}
	if len(gone) == 0 {
		return false, nil
	}
	call := c.takeCall(userID, name, gone...)
	redisx.RunScripts(ctx, c.store.rdb, call)
	isCounted, _, err = parseTakeReply(call)
	return isCounted, err
}

func (c *Connections) takeCall(userID, name string, gone ...string) *redisx.Call {
	args := []any{name, c.limit, connectionsTTL.Milliseconds()}
	for _, other := range gone[:min(len(gone), pipelineSize)] {
		args = append(args, other)
	}
	return &redisx.Call{Script: takeConnectionScript, Keys: []string{keys.UserConnections(userID)}, Args: args}
}

// parseTakeReply reads the reply of take_connection.lua.
func parseTakeReply(call *redisx.Call) (isCounted bool, others []string, err error) {
	reply, err := call.Slice()
	if err != nil {
		return false, nil, fmt.Errorf("count connections: %w", err)
	}
	if len(reply) == 0 {
		return false, nil, errors.New("count connections: empty reply")
	}
	for _, v := range reply[1:] {
		if text, ok := v.(string); ok {
			others = append(others, text)
		}
	}
	return reply[0] == int64(1), others, nil
}

// renewLease renews the lease of this node, and returns which of the other nodes have none.
func (c *Connections) renewLease(ctx context.Context, lease time.Duration, others ...string) (isNew bool, dead []string, err error) {
	args := []any{c.node, lease.Milliseconds()}
	for _, node := range others {
		args = append(args, node)
	}
	reply, err := renewNodeScript.Do(ctx, c.store.rdb, []string{keys.ConnectedNodes}, args...).Slice()
	if err != nil || len(reply) == 0 {
		return false, nil, fmt.Errorf("renew the lease of connections: %w", err)
	}
	for _, v := range reply[1:] {
		if text, ok := v.(string); ok {
			dead = append(dead, text)
		}
	}
	c.hasLease.Store(true)
	if reply[0] == int64(1) {
		c.mu.Lock()
		c.mustRetell = true
		c.mu.Unlock()
	}
	return reply[0] == int64(1), dead, nil
}

func (c *Connections) releaseConnection(name, userID string, isUnsure bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.held, name)
	r := releasedConnection{name: name, userID: userID}
	if isUnsure {
		r.notBefore = time.Now().Add(unsureDelay)
	}
	c.released = append(c.released, r)
	c.ended.Notify()
}

// Run keeps the lease of this node and removes connections that have ended, until ctx ends. Then it
// removes all connections of this node and returns nil. While Redis does not answer it keeps what
// is to be removed.
func (c *Connections) Run(ctx context.Context) error {
	if c.limit <= 0 {
		<-ctx.Done()
		return nil
	}
	renew, prolong := time.NewTicker(c.lease/3), time.NewTicker(connectionsTTL/3)
	defer renew.Stop()
	defer prolong.Stop()
	c.keepLease(ctx)
	for {
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
			defer cancel()
			c.mu.Lock()
			for name, h := range c.held {
				c.released = append(c.released, releasedConnection{name: name, userID: h.userID})
			}
			c.added = nil
			c.mu.Unlock()
			c.sendReleased(ctx)
			_, _, _ = c.renewLease(ctx, 0) // without it, the lease ends by itself
			return nil
		case <-c.ended.C():
			c.sendAdded(ctx)
			c.sendReleased(ctx)
		case <-renew.C:
			c.keepLease(ctx)
		case <-prolong.C:
			c.mu.Lock()
			c.mustRetell = true
			c.mu.Unlock()
		}
	}
}

// keepLease renews the lease, and counts the connections again that Redis may not have.
func (c *Connections) keepLease(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.lease/2)
	defer cancel()
	if _, _, err := c.renewLease(ctx, c.lease); err != nil {
		return // the next renewal tries again
	}
	c.mu.Lock()
	isDue := c.mustRetell
	c.mustRetell = false
	c.mu.Unlock()
	if isDue && !c.addAll(ctx) {
		c.mu.Lock()
		c.mustRetell = true
		c.mu.Unlock()
	}
	c.sendReleased(ctx)
	c.recountCrowded(ctx)
	c.sendReleased(ctx)
}

// sendAdded counts what AdmitReplacement has admitted. What fails is counted at the next renewal of
// the lease.
func (c *Connections) sendAdded(ctx context.Context) {
	c.mu.Lock()
	added := c.added
	c.added = nil
	all := added[:0]
	for _, a := range added {
		if _, isHeld := c.held[a.name]; isHeld {
			all = append(all, a)
		}
	}
	c.mu.Unlock()
	if len(all) > 0 && !c.addConnections(ctx, all) {
		c.mu.Lock()
		c.mustRetell = true
		c.mu.Unlock()
	}
}

// addAll adds all admitted connections of this node to those that Redis has, whatever their number.
func (c *Connections) addAll(ctx context.Context) bool {
	c.mu.Lock()
	all := make([]releasedConnection, 0, len(c.held))
	for name, h := range c.held {
		if h.isAdmitted {
			all = append(all, releasedConnection{name: name, userID: h.userID})
		}
	}
	c.mu.Unlock()
	return c.addConnections(ctx, all)
}

// addConnections adds connections to those that Redis has, whatever their number. It reports false
// when Redis did not answer.
func (c *Connections) addConnections(ctx context.Context, all []releasedConnection) bool {
	for part := range slices.Chunk(all, pipelineSize) {
		_, err := c.store.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, h := range part {
				pipe.SAdd(ctx, keys.UserConnections(h.userID), h.name)
				pipe.PExpire(ctx, keys.UserConnections(h.userID), connectionsTTL)
			}
			return nil
		})
		if redisx.Unavailable(err) { // else a key holds something else: its user is not counted
			return false
		}
	}
	return true
}

// sendReleased removes connections that have ended. What fails is sent again at the next renewal of
// the lease.
func (c *Connections) sendReleased(ctx context.Context) {
	now := time.Now()
	var due, later []releasedConnection
	c.mu.Lock()
	for _, r := range c.released {
		if ctx.Err() == nil && now.Before(r.notBefore) {
			later = append(later, r)
		} else {
			due = append(due, r)
		}
	}
	c.released = later
	c.mu.Unlock()
	for len(due) > 0 {
		part := due[:min(len(due), pipelineSize)]
		_, err := c.store.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, r := range part {
				pipe.SRem(ctx, keys.UserConnections(r.userID), r.name)
			}
			return nil
		})
		if redisx.Unavailable(err) {
			c.mu.Lock()
			c.released = append(c.released, due...)
			c.mu.Unlock()
			return
		}
		due = due[len(part):]
	}
}
