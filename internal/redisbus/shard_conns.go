package redisbus

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// shardConns are the connections of a subscriber for sharded channels, which Redis Cluster has
// since version 7.0: a channel belongs to the master of its slot, and what is published there stays
// on that shard. There is one connection to each master that has a channel of ours, with a
// goroutine that reads from it.
//
// When a slot moves, Redis ends the subscription and says so. When a master dies, the connection
// breaks. In both cases the channel is asked for again where its slot is then. Messages in
// between are not received, as with everything that Redis publishes.
type shardConns struct {
	subscriber *subscriber
	client     *redis.ClusterClient

	mu       sync.Mutex
	byAddr   map[string]*shardConn        // by the master's address; guarded by mu
	homes    map[*subscription]*shardConn // where a channel was asked for; guarded by mu
	isClosed bool                         // guarded by mu

	areUnsupported atomic.Bool // this Redis knows no sharded channels
	readers        sync.WaitGroup
}

// A shardConn is the connection to one master.
type shardConn struct {
	pubsub        *redis.PubSub
	lastRead      atomic.Int64 // when anything came last, Unix ns
	willRetrySoon atomic.Bool  // Redis refused something, and a timer runs until it is asked again
}

func newShardConns(s *subscriber, client *redis.ClusterClient) *shardConns {
	return &shardConns{subscriber: s, client: client, byAddr: map[string]*shardConn{}, homes: map[*subscription]*shardConn{}}
}

func (s *shardConns) sendSubscribe(list []*subscription) (failed []*subscription) {
	for _, c := range list {
		if !s.subscribeOne(c) {
			failed = append(failed, c)
		}
	}
	if len(failed) > 0 {
		s.client.ReloadState(context.Background()) // perhaps a master is gone
	}
	return failed
}

// subscribeOne asks for one channel. It reports false when that must be tried again.
func (s *shardConns) subscribeOne(c *subscription) bool {
	if s.areUnsupported.Load() {
		return true // it will never be confirmed, and need not be
	}
	ctx, cancel := context.WithTimeout(context.Background(), pipelineTimeout)
	defer cancel()
	master, err := s.client.MasterForKey(ctx, c.name)
	if err != nil {
		return false
	}
	conn := s.connTo(master)
	if conn == nil {
		return true // the bus closes
	}
	s.mu.Lock()
	s.homes[c] = conn
	s.mu.Unlock()
	return conn.pubsub.SSubscribe(ctx, c.name) == nil
}

// connTo returns the connection to a master, or nil after close.
func (s *shardConns) connTo(master *redis.Client) *shardConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr := master.Options().Addr
	if conn := s.byAddr[addr]; conn != nil || s.isClosed {
		return conn
	}
	conn := &shardConn{pubsub: master.SSubscribe(context.Background())} // without a channel it does not dial
	conn.lastRead.Store(time.Now().UnixNano())
	s.byAddr[addr] = conn
	s.readers.Go(func() { s.readFrom(addr, conn) })
	return conn
}

func (s *shardConns) sendUnsubscribe(list []*subscription) {
	for _, c := range list {
		s.mu.Lock()
		conn := s.homes[c]
		delete(s.homes, c)
		s.mu.Unlock()
		if conn != nil {
			_ = conn.pubsub.SUnsubscribe(context.Background(), c.name) // a failure ends with its connection
		}
	}
}

// readFrom reads what one master sends, until the connection breaks.
func (s *shardConns) readFrom(addr string, conn *shardConn) {
	for {
		v, err := conn.pubsub.Receive(context.Background())
		var refusal redis.Error
		switch {
		case errors.As(err, &refusal):
			s.handleRefusal(conn, refusal)
		case err != nil:
			s.replaceBroken(addr, conn)
			return
		default:
			conn.lastRead.Store(time.Now().UnixNano())
			if sub, isSubscription := v.(*redis.Subscription); isSubscription && sub.Kind == "sunsubscribe" {
				s.client.ReloadState(context.Background())
			}
			s.subscriber.handleReply(v)
		}
	}
}

// refusalPause is how long to wait before asking again for what Redis has refused.
const refusalPause = 50 * time.Millisecond

// handleRefusal handles an error reply: a slot is on another node, the Cluster is down, or this
// Redis knows no sharded channels. The reply does not say which channel it is about, so all
// unconfirmed ones of the connection are asked for again.
func (s *shardConns) handleRefusal(conn *shardConn, err redis.Error) {
	if strings.Contains(err.Error(), "unknown command") {
		s.areUnsupported.Store(true)
		return
	}
	s.client.ReloadState(context.Background())
	if conn.willRetrySoon.Swap(true) {
		return
	}
	time.AfterFunc(refusalPause, func() {
		conn.willRetrySoon.Store(false)
		s.subscriber.retryUnconfirmed(s.channelsOn(conn))
	})
}

// channelsOn lists the channels that were asked for on a connection.
func (s *shardConns) channelsOn(conn *shardConn) (all []*subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, home := range s.homes {
		if home == conn {
			all = append(all, c)
		}
	}
	return all
}

// replaceBroken gives a broken connection up, and has its channels asked for where their slots are
// now.
func (s *shardConns) replaceBroken(addr string, conn *shardConn) {
	_ = conn.pubsub.Close() // go-redis would ask for channels of many slots in one command, which Redis refuses
	s.mu.Lock()
	delete(s.byAddr, addr)
	isClosed := s.isClosed
	s.mu.Unlock()
	if isClosed {
		return
	}
	s.subscriber.restarts.Add(1)
	s.client.ReloadState(context.Background())
	s.subscriber.retryLost(s.channelsOn(conn))
}

func (s *shardConns) checkConnections(patience time.Duration) {
	s.mu.Lock()
	conns := make([]*shardConn, 0, len(s.byAddr))
	for _, conn := range s.byAddr {
		conns = append(conns, conn)
	}
	s.mu.Unlock()
	for _, conn := range conns {
		if time.Since(time.Unix(0, conn.lastRead.Load())) > patience {
			_ = conn.pubsub.Close() // its reader notices
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_ = conn.pubsub.Ping(ctx) // the reader sees the answer, or none comes
		cancel()
	}
}

// readMessages returns when all readers have ended.
func (s *shardConns) readMessages(done <-chan struct{}) {
	<-done
	s.close()
	s.readers.Wait()
}

func (s *shardConns) close() {
	s.mu.Lock()
	s.isClosed = true
	conns := s.byAddr
	s.byAddr = map[string]*shardConn{}
	s.mu.Unlock()
	for _, conn := range conns {
		_ = conn.pubsub.Close() // nothing more is wanted of it
	}
}

// restart does nothing: Bus.Restart is about classic channels.
func (s *shardConns) restart() {}
