package redisbus

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// A subscriber receives the messages of the channels that this process subscribes to. Wishes
// are counted; one goroutine brings Redis's subscriptions in line with the counts, so a first wish
// that races the last one's end is never lost. Its transport has the connections and reads from
// them.
//
// Redis has the subscription about one round trip after the first wish. Messages that are published
// before that are not received; waitConfirmed closes that window. After the last wish the
// subscription lingers.
type subscriber struct {
	linger    time.Duration
	onMessage func(owner any, payload []byte)
	onUp      func(owner any) // may be nil
	onDial    func()          // may be nil
	transport transport       // set once, before the goroutines start

	mu        sync.Mutex
	channels  map[channelKey]*subscription // wanted, or not yet given up; guarded by mu
	toSync    []*subscription              // whose wish may differ from what Redis knows; guarded by mu
	lingering []*subscription              // not wanted any more, oldest first; guarded by mu
	isDown    bool                         // the connection broke and is not back; guarded by mu
	// lastChannel is the channel of the message that came last, unless that came by a pattern;
	// guarded by mu.
	lastChannel *subscription

	wake     redisx.Signal
	lastRead atomic.Int64 // when anything came last, Unix ns
	received atomic.Int64
	bytes    atomic.Int64
	restarts atomic.Int64 // connections that were given up, or lost
}

// confirmPatience is for how long a channel is not given up whose confirmation is late.
const confirmPatience = 10 * time.Second

// A transport has the connections over which a subscriber receives.
type transport interface {
	// sendSubscribe asks for channels, and returns those that it could not ask for.
	sendSubscribe(list []*subscription) (failed []*subscription)
	sendUnsubscribe(list []*subscription)
	// readMessages reads until close was called.
	readMessages(done <-chan struct{})
	// checkConnections pings, and replaces connections on which nothing came for longer than patience.
	checkConnections(patience time.Duration)
	// restart replaces the connections.
	restart()
	close()
}

// A channelKey names what can be subscribed to.
type channelKey struct {
	name      string
	isPattern bool
}

// A subscription is one channel of Redis, or one pattern.
type subscription struct {
	channelKey
	owner    any
	isAnchor bool

	// guarded by subscriber.mu
	wishes         int       // how many calls want it
	askedAt        time.Time // when SUBSCRIBE was sent; zero when it was not
	isConfirmed    bool      // by Redis
	isInSync       bool      // it is in toSync
	unwantedSince  time.Time // when the last wish ended
	lingeringSince time.Time // when it came into lingering; zero when it is not there
	waiters        []chan struct{}
}

func newSubscriber(cfg Config) *subscriber {
	s := &subscriber{
		linger: cfg.Linger, onMessage: cfg.OnMessage, onUp: cfg.OnUp, onDial: cfg.OnDial,
		channels: map[channelKey]*subscription{}, wake: redisx.NewSignal(),
	}
	s.lastRead.Store(time.Now().UnixNano())
	return s
}

// changeWanted adds wishes for a channel, or takes some back.
func (s *subscriber) changeWanted(ch Channel, wishes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := channelKey{ch.Name, ch.IsPattern}
	c := s.channels[key]
	if c == nil {
		if wishes < 0 {
			return
		}
		c = &subscription{channelKey: key, owner: ch.Owner, isAnchor: ch.IsAnchor}
		s.channels[key] = c
	}
	if c.wishes += wishes; c.wishes == 0 {
		c.unwantedSince = time.Now()
	}
	if (c.wishes > 0) != !c.askedAt.IsZero() {
		s.scheduleSync(c)
	}
}

// scheduleSync has syncSubscriptions look at a channel. mu is held.
func (s *subscriber) scheduleSync(c *subscription) {
	if !c.isInSync {
		c.isInSync = true
		s.toSync = append(s.toSync, c)
		s.wake.Notify()
	}
}

// scheduleRetry has syncSubscriptions ask for a channel again. mu is held.
func (s *subscriber) scheduleRetry(c *subscription) {
	c.askedAt = time.Time{}
	s.scheduleSync(c)
}

// waitConfirmed returns when Redis has the subscription of a wanted channel, or ctx ends.
func (s *subscriber) waitConfirmed(ctx context.Context, key channelKey) error {
	s.mu.Lock()
	c := s.channels[key]
	if c == nil || c.isConfirmed {
		s.mu.Unlock()
		return nil
	}
	confirmed := make(chan struct{})
	c.waiters = append(c.waiters, confirmed)
	s.mu.Unlock()
	select {
	case <-confirmed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// listUnconfirmed returns the channels that are wanted, and that Redis has not confirmed.
func (s *subscriber) listUnconfirmed() (list []channelKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, c := range s.channels {
		if c.wishes > 0 && !c.isConfirmed {
			list = append(list, key)
		}
	}
	return list
}

func (s *subscriber) isConnected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.isDown
}

func (s *subscriber) countChannels() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.channels)
}

func (s *subscriber) lastReceived() time.Time { return time.Unix(0, s.lastRead.Load()) }

func (s *subscriber) noteReceived() { s.lastRead.Store(time.Now().UnixNano()) }

// syncSubscriptions brings Redis's subscriptions in line with what is wanted, until done.
func (s *subscriber) syncSubscriptions(done <-chan struct{}) {
	lingerOver := time.NewTimer(s.linger)
	defer lingerOver.Stop()
	retry := backoff{}
	for {
		select {
		case <-s.wake.C():
		case <-lingerOver.C:
			lingerOver.Reset(s.linger)
			s.mu.Lock()
			isEmpty := len(s.lingering) == 0
			s.mu.Unlock()
			if isEmpty {
				continue
			}
		case <-done:
			return
		}
		retry.waitAfter(s.syncOnce(), done)
	}
}

// syncOnce is one round of syncSubscriptions. It reports false when it could not ask Redis for
// everything.
func (s *subscriber) syncOnce() bool {
	wanted, unwanted := s.takeChanges(time.Now())
	if len(unwanted) > 0 {
		s.transport.sendUnsubscribe(unwanted) // a failure ends with its connection
	}
	if len(wanted) == 0 {
		return true
	}
	failed := s.transport.sendSubscribe(wanted)
	s.retryUnconfirmed(failed)
	return len(failed) == 0
}

// takeChanges returns the channels that Redis must be asked for, and those to give up.
func (s *subscriber) takeChanges(now time.Time) (wanted, unwanted []*subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.toSync
	s.toSync = nil
	for _, c := range list {
		c.isInSync = false
		switch {
		case c.wishes > 0 && c.askedAt.IsZero():
			c.askedAt = now
			wanted = append(wanted, c)
		case c.wishes > 0 || !c.lingeringSince.IsZero():
		case c.askedAt.IsZero():
			delete(s.channels, c.channelKey)
			unwanted = append(unwanted, c)
		default:
			c.lingeringSince = now
			s.lingering = append(s.lingering, c)
		}
	}
	return wanted, append(unwanted, s.takeLingered(now)...)
}

// takeLingered gives up the channels that have lingered for long enough, and returns them. It looks
// at no channel before its time, because many are left each second where players come and go. mu is
// held.
func (s *subscriber) takeLingered(now time.Time) (unwanted []*subscription) {
	for len(s.lingering) > 0 && now.Sub(s.lingering[0].lingeringSince) >= s.linger {
		c := s.lingering[0]
		s.lingering[0], s.lingering = nil, s.lingering[1:]
		c.lingeringSince = time.Time{}
		switch {
		case c.wishes > 0:
		case now.Sub(c.unwantedSince) < s.linger, // it was wanted for a while in between
			!c.isConfirmed && now.Sub(c.askedAt) < confirmPatience:
			// The late confirmation would be taken for that of the next wish.
			c.lingeringSince = now
			s.lingering = append(s.lingering, c)
		default:
			delete(s.channels, c.channelKey)
			unwanted = append(unwanted, c)
		}
	}
	return unwanted
}

// retryUnconfirmed asks again for those of the channels that Redis has not confirmed.
func (s *subscriber) retryUnconfirmed(list []*subscription) { s.retryChannels(list, false) }

// retryLost asks again for channels whose connection is lost.
func (s *subscriber) retryLost(list []*subscription) { s.retryChannels(list, true) }

func (s *subscriber) retryChannels(list []*subscription, areLost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range list {
		if areLost {
			c.isConfirmed = false
		}
		if !c.isConfirmed && !c.askedAt.IsZero() {
			s.scheduleRetry(c)
		}
	}
}

// markDown notes that the connection broke and go-redis will ask for everything again on a new one:
// no channel is confirmed any more, and the time for its confirmation begins anew.
func (s *subscriber) markDown() {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isDown = true
	for _, c := range s.channels {
		c.isConfirmed = false
		if !c.askedAt.IsZero() {
			c.askedAt = now
		}
	}
}

// restartAll notes that the connection was replaced by one that has no subscriptions.
func (s *subscriber) restartAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isDown = true
	for _, c := range s.channels {
		c.isConfirmed = false
		s.scheduleRetry(c)
	}
}

// handleReply handles what go-redis has read from a connection.
func (s *subscriber) handleReply(v any) {
	s.noteReceived()
	switch v := v.(type) {
	case *redis.Subscription:
		s.handleConfirmation(v)
	case *redis.Message:
		payload := unsafe.Slice(unsafe.StringData(v.Payload), len(v.Payload))
		if v.Pattern != "" {
			s.handlePatternMessage([]byte(v.Pattern), []byte(v.Channel), payload)
			return
		}
		s.handleMessage([]byte(v.Channel), payload)
	}
}

// handleMessage passes a message on to onMessage. It keeps none of its bytes.
func (s *subscriber) handleMessage(channel, payload []byte) {
	s.received.Add(1)
	s.bytes.Add(int64(len(payload)))
	s.mu.Lock()
	c := s.channels[channelKey{name: string(channel)}]
	s.lastChannel = c
	s.mu.Unlock()
	if c != nil {
		s.onMessage(c.owner, payload)
	}
}

// handlePatternMessage passes a message that came by a pattern on to the pattern's owner, unless it
// has come by its channel too: Redis sends a message to the channel's subscribers first, and then
// to those of patterns, with nothing in between on one connection.
func (s *subscriber) handlePatternMessage(pattern, channel, payload []byte) {
	s.received.Add(1)
	s.bytes.Add(int64(len(payload)))
	s.mu.Lock()
	p := s.channels[channelKey{string(pattern), true}]
	isRepeat := s.lastChannel != nil && s.lastChannel.name == string(channel)
	s.lastChannel = nil
	s.mu.Unlock()
	if p != nil && !isRepeat {
		s.onMessage(p.owner, payload)
	}
}

// handleConfirmation notes that Redis has begun or ended a subscription.
func (s *subscriber) handleConfirmation(v *redis.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[channelKey{v.Channel, v.Kind == "psubscribe" || v.Kind == "punsubscribe"}]
	if c == nil {
		return
	}
	if c.isConfirmed = !strings.Contains(v.Kind, "unsubscribe"); !c.isConfirmed {
		if v.Kind == "sunsubscribe" && c.wishes > 0 { // its slot has moved
			s.scheduleRetry(c)
		}
		return
	}
	for _, w := range c.waiters {
		close(w)
	}
	c.waiters = nil
	if c.isAnchor {
		s.isDown = false
		if s.onUp != nil {
			s.onUp(c.owner)
		}
	}
}

// checkConfirmations asks again for channels that Redis has not confirmed within patience, and has
// the transport check its connections.
func (s *subscriber) checkConfirmations(patience time.Duration) {
	now := time.Now()
	s.mu.Lock()
	for _, c := range s.channels {
		if c.wishes > 0 && !c.isConfirmed && !c.askedAt.IsZero() && now.Sub(c.askedAt) > patience {
			s.scheduleRetry(c)
		}
	}
	s.mu.Unlock()
	s.transport.checkConnections(patience)
}
