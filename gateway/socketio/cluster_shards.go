package socketio

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Shards are the connections of a subscriber whose channels are sharded, as Redis Cluster
// has them since 7.0: a channel belongs to the master of its slot, and what is published
// there is not passed on to the rest of the Cluster. There is one connection to each master
// that has a channel of ours, with a goroutine that reads.
//
// When a slot moves Redis ends the subscription and says so; when a master dies the
// connection breaks. Either way the channel is asked for again where its slot is then. What
// is published meanwhile is not heard, as with everything that Redis publishes.
type shards struct {
	subs   *subscriber
	client *redis.ClusterClient

	mu    sync.Mutex
	lines map[string]*shardLine   // by the master's address; guarded by mu
	homes map[*channel]*shardLine // where a channel was asked for; guarded by mu
	ended bool                    // guarded by mu

	absent  atomic.Bool // this Redis knows no sharded channels
	readers sync.WaitGroup
}

// A shardLine is one connection.
type shardLine struct {
	ps    *redis.PubSub
	heard atomic.Int64 // when anything came last, Unix ns
	sulks atomic.Bool  // Redis refused something, which will be asked for again
}

func newShards(subs *subscriber, client *redis.ClusterClient) *shards {
	return &shards{subs: subs, client: client, lines: map[string]*shardLine{}, homes: map[*channel]*shardLine{}}
}

func (s *shards) subscribe(list []*channel) (failed []*channel) {
	for _, c := range list {
		if !s.ask(c) {
			failed = append(failed, c)
		}
	}
	if len(failed) > 0 {
		s.client.ReloadState(context.Background()) // perhaps a master has gone
	}
	return failed
}

func (s *shards) ask(c *channel) bool {
	if s.absent.Load() {
		return true // it will not come, and need not
	}
	ctx, cancel := context.WithTimeout(context.Background(), pipelineTimeout)
	defer cancel()
	node, err := s.client.MasterForKey(ctx, c.name)
	if err != nil {
		return false
	}
	l := s.line(node)
	if l == nil {
		return true // this node closes
	}
	s.mu.Lock()
	s.homes[c] = l
	s.mu.Unlock()
	return l.ps.SSubscribe(ctx, c.name) == nil
}

// line is the connection to a master, or nil when all is over.
func (s *shards) line(node *redis.Client) *shardLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr := node.Options().Addr
	if l := s.lines[addr]; l != nil || s.ended {
		return l
	}
	l := &shardLine{ps: node.SSubscribe(context.Background())} // nothing yet: it does not dial
	l.heard.Store(time.Now().UnixNano())
	s.lines[addr] = l
	s.readers.Go(func() { s.read(addr, l) })
	return l
}

func (s *shards) unsubscribe(list []*channel) {
	for _, c := range list {
		s.mu.Lock()
		l := s.homes[c]
		delete(s.homes, c)
		s.mu.Unlock()
		if l != nil {
			_ = l.ps.SUnsubscribe(context.Background(), c.name) // what fails ends with its connection
		}
	}
}

// read takes what comes from one master, until the connection breaks.
func (s *shards) read(addr string, l *shardLine) {
	for {
		v, err := l.ps.Receive(context.Background())
		var reply redis.Error
		switch {
		case errors.As(err, &reply):
			s.refused(l, reply)
		case err != nil:
			s.broken(addr, l)
			return
		default:
			l.heard.Store(time.Now().UnixNano())
			if sub, is := v.(*redis.Subscription); is && sub.Kind == "sunsubscribe" {
				s.client.ReloadState(context.Background())
			}
			s.subs.receive(v)
		}
	}
}

// sulk is how long to wait before asking again for what Redis has refused.
const sulk = 50 * time.Millisecond

// refused hears that a slot is elsewhere, or that the Cluster is down, or that all this is
// unknown. It does not hear of which channel.
func (s *shards) refused(l *shardLine, err redis.Error) {
	if strings.Contains(err.Error(), "unknown command") {
		s.absent.Store(true)
		return
	}
	s.client.ReloadState(context.Background())
	if l.sulks.Swap(true) {
		return
	}
	time.AfterFunc(sulk, func() {
		l.sulks.Store(false)
		s.subs.again(s.at(l), false)
	})
}

// at are the channels that were asked for on a connection.
func (s *shards) at(l *shardLine) (all []*channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, home := range s.homes {
		if home == l {
			all = append(all, c)
		}
	}
	return all
}

// broken gives a connection up, and asks for its channels elsewhere.
func (s *shards) broken(addr string, l *shardLine) {
	_ = l.ps.Close() // go-redis would ask for channels of many slots at once, which Redis refuses
	s.mu.Lock()
	delete(s.lines, addr)
	ended := s.ended
	s.mu.Unlock()
	if ended {
		return
	}
	s.subs.restarts.Add(1)
	s.client.ReloadState(context.Background())
	s.subs.again(s.at(l), true)
}

func (s *shards) check(patience time.Duration) {
	s.mu.Lock()
	lines := make([]*shardLine, 0, len(s.lines))
	for _, l := range s.lines {
		lines = append(lines, l)
	}
	s.mu.Unlock()
	for _, l := range lines {
		if time.Since(time.Unix(0, l.heard.Load())) > patience {
			_ = l.ps.Close() // its reader notices
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_ = l.ps.Ping(ctx) // what comes of it is heard, or not
		cancel()
	}
}

// run waits until all readers have ended.
func (s *shards) run(done <-chan struct{}) {
	<-done
	s.close()
	s.readers.Wait()
}

func (s *shards) close() {
	s.mu.Lock()
	s.ended = true
	lines := s.lines
	s.lines = map[string]*shardLine{}
	s.mu.Unlock()
	for _, l := range lines {
		_ = l.ps.Close() // nothing more is wanted of it
	}
}
