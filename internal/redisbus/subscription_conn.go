package redisbus

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A subscriptionConn is the one connection of a subscriber for classic channels. go-redis
// subscribes to all of them again when it had to dial anew.
type subscriptionConn struct {
	subscriber *subscriber
	client     redis.UniversalClient
	ownClient  *redis.Client // client, where it was made for this connection alone; else nil
	maxMessage int           // bytes of a payload

	mu       sync.Mutex
	pubsub   *redis.PubSub // replaced by replaceConn; guarded by mu
	isClosed bool          // guarded by mu
}

// channelsPerCommand is how many channels one SUBSCRIBE names.
const channelsPerCommand = 1000

func newSubscriptionConn(s *subscriber, client redis.UniversalClient, maxMessage int) *subscriptionConn {
	c := &subscriptionConn{subscriber: s, client: client, maxMessage: maxMessage}
	if c.ownClient = newClientWithPushReader(client, c.newPushReader); c.ownClient != nil {
		c.client = c.ownClient
	}
	c.pubsub = c.client.Subscribe(context.Background()) // without a channel it does not dial
	return c
}

func (c *subscriptionConn) newPushReader(conn net.Conn) net.Conn {
	if c.subscriber.onDial != nil {
		c.subscriber.onDial()
	}
	return &pushReader{
		Conn: conn, maxPayload: c.maxMessage,
		onRead: c.subscriber.noteReceived, onMessage: c.subscriber.handleMessage, onPatternMessage: c.subscriber.handlePatternMessage,
	}
}

// currentPubSub returns the connection as it is now, and whether it is closed for good.
func (c *subscriptionConn) currentPubSub() (pubsub *redis.PubSub, isClosed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pubsub, c.isClosed
}

func (c *subscriptionConn) sendSubscribe(list []*subscription) (failed []*subscription) {
	pubsub, _ := c.currentPubSub()
	forEachCommand(list, func(names []string, part []*subscription) {
		subscribe := pubsub.Subscribe
		if part[0].isPattern {
			subscribe = pubsub.PSubscribe
		}
		if subscribe(context.Background(), names...) != nil {
			failed = append(failed, part...)
		}
	})
	return failed
}

func (c *subscriptionConn) sendUnsubscribe(list []*subscription) {
	pubsub, _ := c.currentPubSub()
	forEachCommand(list, func(names []string, part []*subscription) {
		unsubscribe := pubsub.Unsubscribe
		if part[0].isPattern {
			unsubscribe = pubsub.PUnsubscribe
		}
		_ = unsubscribe(context.Background(), names...) // a failure ends with its connection
	})
}

// forEachCommand calls send for as many channels, or patterns, as one command may name.
func forEachCommand(list []*subscription, send func(names []string, part []*subscription)) {
	for len(list) > 0 {
		part := list[:min(len(list), channelsPerCommand)]
		isOtherKind := func(c *subscription) bool { return c.isPattern != list[0].isPattern }
		if i := slices.IndexFunc(part, isOtherKind); i > 0 {
			part = part[:i]
		}
		names := make([]string, len(part))
		for i, c := range part {
			names[i] = c.name
		}
		send(names, part)
		list = list[len(part):]
	}
}

func (c *subscriptionConn) readMessages(done <-chan struct{}) {
	retry := backoff{}
	for {
		pubsub, isClosed := c.currentPubSub()
		if isClosed {
			return
		}
		v, err := pubsub.Receive(context.Background())
		if err != nil {
			if now, _ := c.currentPubSub(); now == pubsub { // else replaceConn has replaced it
				c.subscriber.markDown()
			}
			retry.waitAfter(false, done)
			continue
		}
		retry.wait = 0
		c.subscriber.handleReply(v)
	}
}

func (c *subscriptionConn) checkConnections(patience time.Duration) {
	pubsub, isClosed := c.currentPubSub()
	if isClosed {
		return
	}
	if time.Since(c.subscriber.lastReceived()) < patience {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = pubsub.Ping(ctx) // the reader sees the answer, or none comes
		return
	}
	c.subscriber.noteReceived()
	c.replaceConn()
}

func (c *subscriptionConn) restart() {
	c.subscriber.noteReceived()
	c.replaceConn()
}

// replaceConn replaces the connection by a new one.
func (c *subscriptionConn) replaceConn() {
	c.subscriber.restarts.Add(1)
	fresh := c.client.Subscribe(context.Background())
	c.mu.Lock()
	old := c.pubsub
	if c.isClosed {
		old = fresh
	} else {
		c.pubsub = fresh
		c.subscriber.restartAll()
	}
	c.mu.Unlock()
	_ = old.Close() // it is given up; not under mu, because it may wait for a dial
}

func (c *subscriptionConn) close() {
	c.mu.Lock()
	c.isClosed = true
	pubsub := c.pubsub
	c.mu.Unlock()
	_ = pubsub.Close() // nothing more is wanted of it
	if c.ownClient != nil {
		_ = c.ownClient.Close()
	}
}
