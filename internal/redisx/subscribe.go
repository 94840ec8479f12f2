package redisx

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrSubscriptionRefused is in the error of OnDown when Redis answered SUBSCRIBE with an error:
	// our Redis user has no right to the channel, or the server cannot serve now.
	ErrSubscriptionRefused = errors.New("redisx: Redis refuses the subscription")
	// ErrSubscriptionLost is in the error of OnDown when no connection could be made, or it broke.
	ErrSubscriptionLost = errors.New("redisx: the subscription is lost")
)

const (
	subscriptionPing    = time.Second            // between two pings of a connection without messages
	subscriptionSilence = 5 * time.Second        // a connection on which nothing came for that long is closed
	subscribeRetryFirst = 100 * time.Millisecond // pause before subscribing again; doubled each time
	subscribeRetryMost  = time.Second            // the longest such pause
)

// SubscriptionHandlers are called by Subscribe, in its goroutine and one at a time: the next
// message waits for them. A handler must not block: after 5 s without reading, the connection is
// taken for dead and is closed. Each may be nil.
type SubscriptionHandlers struct {
	// OnUp is called each time that Redis has confirmed the subscription. Messages that are published
	// from then on arrive; earlier ones may have been missed.
	OnUp func()
	// OnDown is called once for each outage: when a confirmed subscription ended, or when the first
	// try failed. The error wraps ErrSubscriptionRefused or ErrSubscriptionLost, and the cause. It is
	// called a second time when a lost subscription is then refused. The end of ctx is no outage.
	OnDown func(err error)
	// OnMessage is called with each message.
	OnMessage func(payload string)
}

// Subscribe receives the messages of a channel until ctx ends, and returns when its goroutines have
// ended. It tries again after a subscription was refused or lost: at once, and then with growing
// pauses of up to a second. It also does so when its client was closed, as go-redis does with the
// client of a node that leaves a Cluster.
func Subscribe(ctx context.Context, rdb redis.UniversalClient, channel string, handlers SubscriptionHandlers) {
	s := &subscription{channel: channel, handlers: handlers}
	for ctx.Err() == nil {
		s.receiveMessages(ctx, rdb.Subscribe(ctx)) // without a channel it does not dial yet
	}
}

// A subscription is what Subscribe keeps from one connection to the next.
type subscription struct {
	channel  string
	handlers SubscriptionHandlers
	reported error         // what OnDown was told of this outage; nil before, and without one
	pause    time.Duration // before the next try
}

// receiveMessages hears the channel until ctx ends, or until go-redis would not subscribe again by
// itself.
func (s *subscription) receiveMessages(ctx context.Context, pubsub *redis.PubSub) {
	var heard atomic.Bool // something came since the last ping
	defer keepAlive(ctx, pubsub, &heard)()
	err := pubsub.Subscribe(ctx, s.channel)
	for {
		var event any
		if err == nil {
			event, err = pubsub.Receive(ctx)
		}
		if err != nil {
			isRefused := isRedisReply(err)
			if !s.waitAfterOutage(ctx, err) || isRefused || errors.Is(err, redis.ErrClosed) {
				return
			}
			err = nil // Receive connects and subscribes anew
			continue
		}
		heard.Store(true)
		switch event := event.(type) {
		case *redis.Subscription:
			s.reported, s.pause = nil, 0
			if s.handlers.OnUp != nil {
				s.handlers.OnUp()
			}
		case *redis.Message:
			if s.handlers.OnMessage != nil {
				s.handlers.OnMessage(event.Payload)
			}
		}
	}
}

// waitAfterOutage reports an outage unless that was done, and pauses. It tells whether ctx goes on.
func (s *subscription) waitAfterOutage(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	kind := ErrSubscriptionLost
	if isRedisReply(err) {
		kind = ErrSubscriptionRefused
	}
	// A server that comes back may refuse what it allowed before. LOADING is only a part of coming
	// back.
	turnedIntoRefusal := s.reported == ErrSubscriptionLost && kind == ErrSubscriptionRefused && RefusalWord(err) != "LOADING"
	if s.reported == nil || turnedIntoRefusal {
		s.reported = kind
		if s.handlers.OnDown != nil {
			s.handlers.OnDown(fmt.Errorf("%w: %s: %w", kind, s.channel, err))
		}
	}
	pause := s.pause
	s.pause = min(max(2*pause, subscribeRetryFirst), subscribeRetryMost)
	return sleepUnlessDone(ctx, pause)
}

// isRedisReply tells whether err is an answer of Redis.
func isRedisReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// keepAlive closes the connection when ctx ends, and when it does not answer: it is pinged while
// nothing comes, because a peer that vanished is not noticed otherwise. stop closes it as well, and
// waits for the goroutine.
func keepAlive(ctx context.Context, pubsub *redis.PubSub, heard *atomic.Bool) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer pubsub.Close() // it ends a Receive, which does not watch its context
		tick := time.NewTicker(subscriptionPing)
		defer tick.Stop()
		for silent := time.Duration(0); silent < subscriptionSilence; silent += subscriptionPing {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if heard.Swap(false) {
				silent = 0
			}
			limited, done := context.WithTimeout(ctx, subscriptionPing)
			_ = pubsub.Ping(limited) // what failed is noticed by the silence
			done()
		}
	}()
	return func() { cancel(); <-ended }
}

// sleepUnlessDone waits, and tells whether ctx has not ended meanwhile.
func sleepUnlessDone(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
