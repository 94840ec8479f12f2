package socketio

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A subscriber hears the channels that somebody on this node wants, over one connection.
// Wishes are counted; one goroutine brings what Redis knows in line with them, so a join
// that races the last leave is never lost. Another goroutine reads.
//
// From a room's first join to the moment when Redis has its subscription, about one round
// trip, what other nodes send to the room is not heard; wait closes that window for who
// needs it. After the last leave the subscription stays for a while.
type subscriber struct {
	client redis.UniversalClient
	linger time.Duration
	handle func(to *channel, payload string)

	mu       sync.Mutex
	ps       *redis.PubSub       // the present connection; guarded by mu
	channels map[string]*channel // wanted, or not yet given up; guarded by mu
	dirty    []*channel          // to be looked at; guarded by mu
	away     bool                // the connection broke, and is not back; guarded by mu
	ended    bool                // guarded by mu

	wake     chan struct{} // capacity 1
	heard    atomic.Int64  // when anything came last, Unix ns
	received atomic.Int64
	restarts atomic.Int64 // connections lost
}

// A channel is one channel of Redis.
type channel struct {
	name string
	nsp  *clusterNamespace
	kind byte // of channels

	// guarded by subscriber.mu
	wanted  int       // by how many
	asked   time.Time // when SUBSCRIBE was sent; zero when it was not
	active  bool      // Redis has confirmed
	listed  bool      // in dirty
	left    time.Time // when the last left
	waiters []chan struct{}
}

// Kinds of channels.
const (
	channelRoom = iota
	channelAll
	channelRequest
	channelResponse
	channelHeartbeat
)

// batch is how many channels one SUBSCRIBE names.
const batch = 1000

func newSubscriber(client redis.UniversalClient, linger time.Duration) *subscriber {
	s := &subscriber{client: client, linger: linger, channels: map[string]*channel{}, wake: make(chan struct{}, 1)}
	s.ps = client.Subscribe(context.Background()) // nothing yet: it does not dial
	s.heard.Store(time.Now().UnixNano())
	return s
}

// want raises or lowers the wish for a channel.
func (s *subscriber) want(name string, nsp *clusterNamespace, kind byte, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[name]
	if c == nil {
		if by < 0 {
			return
		}
		c = &channel{name: name, nsp: nsp, kind: kind}
		s.channels[name] = c
	}
	if c.wanted += by; c.wanted == 0 {
		c.left = time.Now()
	}
	if (c.wanted > 0) != !c.asked.IsZero() {
		s.look(c)
	}
}

// look lists a channel to be looked at. mu is held.
func (s *subscriber) look(c *channel) {
	if !c.listed {
		c.listed = true
		s.dirty = append(s.dirty, c)
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// wait returns when Redis has the subscription of a wanted channel, or ctx ends.
func (s *subscriber) wait(ctx context.Context, name string) error {
	s.mu.Lock()
	c := s.channels[name]
	if c == nil || c.active {
		s.mu.Unlock()
		return nil
	}
	done := make(chan struct{})
	c.waiters = append(c.waiters, done)
	s.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connected tells whether there is hope that a subscription will be confirmed soon. At
// first there is.
func (s *subscriber) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.away
}

// sync brings what Redis knows in line with what is wanted, until done.
func (s *subscriber) sync(done <-chan struct{}) {
	later := time.NewTimer(s.linger)
	defer later.Stop()
	retry := backoff{}
	for {
		select {
		case <-s.wake:
		case <-later.C:
			later.Reset(s.linger)
			s.mu.Lock()
			lingering := len(s.dirty) > 0
			s.mu.Unlock()
			if !lingering {
				continue
			}
		case <-done:
			return
		}
		retry.after(s.reconcile(), done)
	}
}

// reconcile is one round of sync. It reports false when Redis could not be told.
func (s *subscriber) reconcile() bool {
	now := time.Now()
	var come, go_ []*channel
	s.mu.Lock()
	ps := s.ps
	list := s.dirty
	s.dirty = nil
	for _, c := range list {
		c.listed = false
		switch {
		case c.wanted > 0 && c.asked.IsZero():
			c.asked = now
			come = append(come, c)
		case c.wanted == 0 && now.Sub(c.left) < s.linger && !c.asked.IsZero():
			c.listed = true // the timer comes back to it
			s.dirty = append(s.dirty, c)
		case c.wanted == 0:
			delete(s.channels, c.name)
			if !c.asked.IsZero() {
				go_ = append(go_, c)
			}
		}
	}
	s.mu.Unlock()
	ok := each(go_, func(names []string, _ []*channel) bool {
		_ = ps.Unsubscribe(context.Background(), names...) // what fails ends with its connection
		return true
	})
	return each(come, func(names []string, part []*channel) bool {
		if ps.Subscribe(context.Background(), names...) == nil {
			return true
		}
		s.mu.Lock()
		for _, c := range part {
			if !c.active {
				c.asked = time.Time{}
				s.look(c)
			}
		}
		s.mu.Unlock()
		return false
	}) && ok
}

func each(list []*channel, f func([]string, []*channel) bool) bool {
	ok := true
	for len(list) > 0 {
		part := list[:min(len(list), batch)]
		names := make([]string, len(part))
		for i, c := range part {
			names[i] = c.name
		}
		ok = f(names, part) && ok
		list = list[len(part):]
	}
	return ok
}

// run reads until close.
func (s *subscriber) run(done <-chan struct{}) {
	retry := backoff{}
	for {
		s.mu.Lock()
		ps, ended := s.ps, s.ended
		s.mu.Unlock()
		if ended {
			return
		}
		v, err := ps.Receive(context.Background())
		if err != nil {
			s.lost(ps)
			retry.after(false, done)
			continue
		}
		retry.wait = 0
		s.heard.Store(time.Now().UnixNano())
		switch v := v.(type) {
		case *redis.Subscription:
			s.confirm(v)
		case *redis.Message:
			s.received.Add(1)
			s.mu.Lock()
			c := s.channels[v.Channel]
			s.mu.Unlock()
			if c != nil {
				s.handle(c, v.Payload)
			}
		}
	}
}

func (s *subscriber) confirm(v *redis.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[v.Channel]
	if c == nil {
		return
	}
	if c.active = v.Kind == "subscribe"; c.active {
		for _, w := range c.waiters {
			close(w)
		}
		c.waiters = nil
		if c.kind == channelHeartbeat {
			s.away = false
			c.nsp.arrived.Store(true)
			c.nsp.hub.beatSoon()
		}
	}
}

// lost forgets what Redis confirmed: the connection broke, and go-redis asks again for all
// of it on a new one.
func (s *subscriber) lost(ps *redis.PubSub) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ps != ps {
		return
	}
	s.away = true
	now := time.Now()
	for _, c := range s.channels {
		c.active = false
		if !c.asked.IsZero() {
			c.asked = now
		}
	}
}

// check asks again for what was not confirmed in time, and gives up a connection on which
// nothing came for so long although it is pinged.
func (s *subscriber) check(patience time.Duration) {
	now := time.Now()
	s.mu.Lock()
	ps, ended := s.ps, s.ended
	for _, c := range s.channels {
		if c.wanted > 0 && !c.active && !c.asked.IsZero() && now.Sub(c.asked) > patience {
			c.asked = time.Time{}
			s.look(c)
		}
	}
	s.mu.Unlock()
	if ended {
		return
	}
	if now.Sub(time.Unix(0, s.heard.Load())) < patience {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = ps.Ping(ctx) // what comes of it is heard, or not
		return
	}
	s.heard.Store(now.UnixNano())
	s.restart()
}

// restart begins again with a new connection.
func (s *subscriber) restart() {
	s.restarts.Add(1)
	fresh := s.client.Subscribe(context.Background())
	s.mu.Lock()
	old := s.ps
	if s.ended {
		old = fresh
	} else {
		s.ps, s.away = fresh, true
		for _, c := range s.channels {
			c.active, c.asked = false, time.Time{}
			s.look(c)
		}
	}
	s.mu.Unlock()
	_ = old.Close() // it is given up; not under mu: it may wait for a dial
}

// close ends run.
func (s *subscriber) close() {
	s.mu.Lock()
	s.ended = true
	ps := s.ps
	s.mu.Unlock()
	_ = ps.Close() // nothing more is wanted of it
}
