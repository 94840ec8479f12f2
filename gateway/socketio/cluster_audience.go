package socketio

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// An audience knows which messages nobody but this node would hear. They are not published,
// and not even packed: where one gateway serves the game, that is all of them.
//
// Nothing is guessed. Redis is asked who listens, in place of being told the messages, one
// question for all that wait; who subscribes after the answer would have come too late for
// them anyway. How many nodes are known only decides whether it is worth asking.
//
// Redis can tell it where it is one server: a replica has listeners of its own, and so have
// the nodes of a Cluster.
type audience struct {
	client *redis.Client // nil where Redis can not tell
	subs   *subscriber
	least  int         // messages
	maybe  atomic.Bool // as Redis was when look asked: nobody else may be there
	barred atomic.Bool // Redis does not let this user ask
	unsent atomic.Int64

	// owned by the publisher's goroutine
	names        []string
	first, again []*channel
	counts       map[string]int64
}

func newAudience(client redis.UniversalClient, subs *subscriber, least int) *audience {
	c, _ := client.(*redis.Client)
	return &audience{client: c, subs: subs, least: least, counts: map[string]int64{}}
}

// look finds out whether asking is worth it. It is called at every beat.
func (a *audience) look(timeout time.Duration) {
	if a.client == nil || a.barred.Load() {
		return
	}
	if !a.subs.connected() {
		a.maybe.Store(false)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	pipe := a.client.Pipeline()
	q := a.question(ctx, pipe)
	_, err := pipe.Exec(ctx)
	a.maybe.Store(err == nil && q.single())
	if err != nil && (strings.HasPrefix(err.Error(), "NOPERM") || strings.HasPrefix(err.Error(), "ERR unknown")) {
		a.barred.Store(true)
	}
}

// A question is whether anybody might hear what PUBSUB NUMSUB does not count: replicas'
// listeners, and those of patterns.
type question struct {
	replication *redis.StringCmd
	patterns    *redis.IntCmd
}

func (a *audience) question(ctx context.Context, pipe redis.Pipeliner) question {
	return question{pipe.Info(ctx, "replication"), pipe.PubSubNumPat(ctx)}
}

// single tells that nobody does. ROLE would say less: a replica that is not quite there hears
// all the same, a moment later.
func (q question) single() bool {
	info := q.replication.Val()
	return strings.Contains(info, "\nrole:master\r\n") && strings.Contains(info, "\nconnected_slaves:0\r\n") && q.patterns.Val() == 0
}

// worthAsking is from how many messages on a question costs less than to send them, for Redis and for this node.
const worthAsking = 3

func everything(string) bool { return true }

// heard leaves of a batch what somebody else hears, or might, in order, and packs it.
func (p *publisher) heard(ctx context.Context, batch []publication, arena []byte) []publication {
	first, drafts := slices.IndexFunc(batch, publication.draft), 0
	for i := range batch {
		if batch[i].draft() {
			drafts++
		}
	}
	if drafts == 0 {
		return batch
	}
	elsewhere := everything
	if drafts >= p.audience.least {
		elsewhere = p.audience.ask(ctx, batch[first:])
	}
	kept := batch[:first]
	for _, m := range batch[first:] {
		switch {
		case !m.draft():
			kept = append(kept, m)
		case !elsewhere(m.channel):
			p.audience.unsent.Add(1)
		case m.pack(arena):
			kept = append(kept, m)
		default:
			p.lose(&m)
		}
	}
	return kept
}

// ask asks Redis about the channels of the drafts in a batch, and returns what tells whether
// anybody but this node might hear one of them.
func (a *audience) ask(ctx context.Context, batch []publication) (elsewhere func(channel string) bool) {
	clear(a.counts)
	a.names = append(a.names[:0], "pubsub", "numsub", batch[0].nsp.own)
	for i := range batch {
		if name := batch[i].channel; batch[i].draft() {
			if _, known := a.counts[name]; !known {
				a.counts[name] = 0
				a.names = append(a.names, name)
			}
		}
	}
	names := a.names[3:]
	args := make([]any, len(a.names))
	for i := range a.names {
		args[i] = &a.names[i]
	}
	var before, after int64
	a.first, before = a.subs.confirmed(names, a.first[:0])
	pipe := a.client.Pipeline()
	numsub := redis.NewSliceCmd(ctx, args...)
	_ = pipe.Process(ctx, numsub) // only queues
	q := a.question(ctx, pipe)
	_, err := pipe.Exec(ctx)
	a.again, after = a.subs.confirmed(names, a.again[:0])
	got := numsub.Val() // name, count, name, count, …
	if err != nil || !q.single() || len(got) != 2*(1+len(names)) {
		a.maybe.Store(false)
		return everything
	}
	// Of who listens to a channel, one is this node, if it has listened all the while: its
	// connection is the one that listens to its own channel.
	ours := got[1] == int64(1) && before == after
	for i, name := range names {
		n, is := got[3+2*i].(int64)
		if !is {
			return everything
		}
		if ours && a.first[i] != nil && a.first[i] == a.again[i] {
			n--
		}
		if a.counts[name] = n; n != 0 {
			a.maybe.Store(false)
		}
	}
	return func(channel string) bool { return a.counts[channel] != 0 }
}

// confirmed lists the channels of these names that Redis has confirmed, nil for others, and
// how often the connection was lost so far.
func (s *subscriber) confirmed(names []string, list []*channel) (_ []*channel, losses int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		c := s.channels[name]
		if c != nil && !c.active {
			c = nil
		}
		list = append(list, c)
	}
	return list, s.losses
}

// draft tells that a publication is an event that is not packed yet.
func (m publication) draft() bool { return m.nsp != nil && m.packed == nil }

// pack makes a draft the message that other nodes expect. It reports false when that can not be, or is too large.
func (m *publication) pack(arena []byte) (ok bool) {
	m.packed, ok = m.nsp.head(nil, arena[m.start:m.target], nil)
	m.packed = append(m.packed, arena[m.target:m.end]...)
	return ok && len(m.packed) <= m.nsp.hub.cfg.MaxMessage
}

// alone tells that asking who hears a message is worth it.
func (n *clusterNamespace) alone() bool {
	return n.known.Load() == 1 && n.hub.pub.audience.maybe.Load()
}
