package socketio

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"
)

// A subscriber hears the channels that somebody on this node wants. Wishes are counted; one
// goroutine brings what Redis knows in line with them, so a join that races the last leave is
// never lost. Others read: see line and shards.
//
// From a room's first join to the moment when Redis has its subscription, about one round
// trip, what other nodes send to the room is not heard; wait closes that window for who
// needs it. After the last leave the subscription stays for a while.
type subscriber struct {
	linger time.Duration
	handle func(to *channel, payload []byte)
	wire   wire // static

	mu       sync.Mutex
	channels map[string]*channel // wanted, or not yet given up; guarded by mu
	dirty    []*channel          // to be looked at; guarded by mu
	parting  []*channel          // left, and kept for a while: in the order of parted; guarded by mu
	away     bool                // the connection broke, and is not back; guarded by mu

	wake     chan struct{} // capacity 1
	heard    atomic.Int64  // when anything came last, Unix ns
	received atomic.Int64
	bytes    atomic.Int64
	restarts atomic.Int64 // connections lost
}

// A wire carries a subscriber's wishes to Redis, and what is heard back.
type wire interface {
	// subscribe asks for channels, and returns those that could not be asked for.
	subscribe(list []*channel) (failed []*channel)
	unsubscribe(list []*channel)
	// run reads until close.
	run(done <-chan struct{})
	// check pings, and gives up connections on which nothing came for so long.
	check(patience time.Duration)
	close()
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
	parted  time.Time // since when it is in parting; zero when it is not
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

func newSubscriber(linger time.Duration, handle func(to *channel, payload []byte)) *subscriber {
	s := &subscriber{linger: linger, handle: handle, channels: map[string]*channel{}, wake: make(chan struct{}, 1)}
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
			parting := len(s.parting) > 0
			s.mu.Unlock()
			if !parting {
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
	list := s.dirty
	s.dirty = nil
	for _, c := range list {
		c.listed = false
		switch {
		case c.wanted > 0 && c.asked.IsZero():
			c.asked = now
			come = append(come, c)
		case c.wanted > 0 || !c.parted.IsZero():
		case c.asked.IsZero():
			delete(s.channels, c.name)
			go_ = append(go_, c)
		default:
			c.parted = now
			s.parting = append(s.parting, c)
		}
	}
	go_ = append(go_, s.part(now)...)
	s.mu.Unlock()
	if len(go_) > 0 {
		s.wire.unsubscribe(go_) // what fails ends with its connection
	}
	if len(come) == 0 {
		return true
	}
	failed := s.wire.subscribe(come)
	s.again(failed, false)
	return len(failed) == 0
}

// part gives up the channels that were left long enough ago, and returns them. It looks at none again before its time: many are
// left each second where players come and go. mu is held.
func (s *subscriber) part(now time.Time) (gone []*channel) {
	for len(s.parting) > 0 && now.Sub(s.parting[0].parted) >= s.linger {
		c := s.parting[0]
		s.parting[0], s.parting = nil, s.parting[1:]
		c.parted = time.Time{}
		switch {
		case c.wanted > 0:
		case now.Sub(c.left) < s.linger: // somebody came and went meanwhile
			c.parted = now
			s.parting = append(s.parting, c)
		default:
			delete(s.channels, c.name)
			gone = append(gone, c)
		}
	}
	return gone
}

// again asks once more for channels, unless they are confirmed and that counts.
func (s *subscriber) again(list []*channel, confirmed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range list {
		if confirmed {
			c.active = false
		}
		if !c.active && !c.asked.IsZero() {
			c.asked = time.Time{}
			s.look(c)
		}
	}
}

// receive takes what came over a connection.
func (s *subscriber) receive(v any) {
	s.heard.Store(time.Now().UnixNano())
	switch v := v.(type) {
	case *redis.Subscription:
		s.confirm(v)
	case *redis.Message:
		s.take([]byte(v.Channel), unsafe.Slice(unsafe.StringData(v.Payload), len(v.Payload)))
	}
}

// take handles a message. Its bytes are not kept.
func (s *subscriber) take(channel, payload []byte) {
	s.received.Add(1)
	s.bytes.Add(int64(len(payload)))
	s.mu.Lock()
	c := s.channels[string(channel)]
	s.mu.Unlock()
	if c != nil {
		s.handle(c, payload)
	}
}

func (s *subscriber) confirm(v *redis.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[v.Channel]
	if c == nil {
		return
	}
	if c.active = v.Kind == "subscribe" || v.Kind == "ssubscribe"; !c.active {
		if v.Kind == "sunsubscribe" && c.wanted > 0 { // its slot has moved
			c.asked = time.Time{}
			s.look(c)
		}
		return
	}
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

// check asks again for what was not confirmed in time.
func (s *subscriber) check(patience time.Duration) {
	now := time.Now()
	s.mu.Lock()
	for _, c := range s.channels {
		if c.wanted > 0 && !c.active && !c.asked.IsZero() && now.Sub(c.asked) > patience {
			c.asked = time.Time{}
			s.look(c)
		}
	}
	s.mu.Unlock()
	s.wire.check(patience)
}
