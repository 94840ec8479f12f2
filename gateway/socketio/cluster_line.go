package socketio

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A line is the subscriber's one connection for classic channels. go-redis asks again for
// all of them when it had to make a new one.
type line struct {
	subs   *subscriber
	client redis.UniversalClient
	own    *redis.Client // the client, where that is one for the line only; else nil
	max    int           // bytes of a message

	mu    sync.Mutex
	ps    *redis.PubSub // the present connection; guarded by mu
	ended bool          // guarded by mu
}

// batch is how many channels one SUBSCRIBE names.
const batch = 1000

func newLine(subs *subscriber, client redis.UniversalClient, max int) *line {
	l := &line{subs: subs, client: client, max: max}
	if l.own = listening(client, l.listen); l.own != nil {
		l.client = l.own
	}
	l.ps = l.client.Subscribe(context.Background()) // nothing yet: it does not dial
	return l
}

func (l *line) present() (ps *redis.PubSub, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ps, l.ended
}

func (l *line) subscribe(list []*channel) (failed []*channel) {
	ps, _ := l.present()
	each(list, func(names []string, part []*channel) {
		if ps.Subscribe(context.Background(), names...) != nil {
			failed = append(failed, part...)
		}
	})
	return failed
}

func (l *line) unsubscribe(list []*channel) {
	ps, _ := l.present()
	each(list, func(names []string, _ []*channel) {
		_ = ps.Unsubscribe(context.Background(), names...) // what fails ends with its connection
	})
}

func each(list []*channel, f func([]string, []*channel)) {
	for len(list) > 0 {
		part := list[:min(len(list), batch)]
		names := make([]string, len(part))
		for i, c := range part {
			names[i] = c.name
		}
		f(names, part)
		list = list[len(part):]
	}
}

func (l *line) run(done <-chan struct{}) {
	retry := backoff{}
	for {
		ps, ended := l.present()
		if ended {
			return
		}
		v, err := ps.Receive(context.Background())
		if err != nil {
			l.lost(ps)
			retry.after(false, done)
			continue
		}
		retry.wait = 0
		l.subs.receive(v)
	}
}

// lost forgets what Redis confirmed: the connection broke, and go-redis asks again for all
// of it on a new one.
func (l *line) lost(ps *redis.PubSub) {
	if now, _ := l.present(); now != ps {
		return
	}
	s, now := l.subs, time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = true
	for _, c := range s.channels {
		c.active = false
		if !c.asked.IsZero() {
			c.asked = now
		}
	}
}

// check pings, and begins again with a new connection when nothing came for so long.
func (l *line) check(patience time.Duration) {
	ps, ended := l.present()
	if ended {
		return
	}
	now := time.Now()
	if now.Sub(time.Unix(0, l.subs.heard.Load())) < patience {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = ps.Ping(ctx) // what comes of it is heard, or not
		return
	}
	l.subs.heard.Store(now.UnixNano())
	l.restart()
}

func (l *line) restart() {
	l.subs.restarts.Add(1)
	fresh := l.client.Subscribe(context.Background())
	l.mu.Lock()
	old := l.ps
	if l.ended {
		old = fresh
	} else {
		l.ps = fresh
		s := l.subs
		s.mu.Lock()
		s.away = true
		for _, c := range s.channels {
			c.active, c.asked = false, time.Time{}
			s.look(c)
		}
		s.mu.Unlock()
	}
	l.mu.Unlock()
	_ = old.Close() // it is given up; not under mu: it may wait for a dial
}

func (l *line) close() {
	l.mu.Lock()
	l.ended = true
	ps := l.ps
	l.mu.Unlock()
	_ = ps.Close() // nothing more is wanted of it
	if l.own != nil {
		_ = l.own.Close()
	}
}
