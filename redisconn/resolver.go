package redisconn

import (
	"context"
	"net"
	"sync"
	"time"
)

// A lookupFunc has the form of net.Resolver.LookupHost.
type lookupFunc = func(ctx context.Context, host string) ([]string, error)

const (
	// lookupTime bounds one question to the name service.
	lookupTime = 5 * time.Second
	// namesLast is how long an answer is used again. It is short, so that a name that moved is seen.
	namesLast = 2 * time.Second
	// slowLookup is after what time a dial uses the previous answer instead.
	slowLookup = 250 * time.Millisecond
)

// A resolver looks names up for dials. A lookup outlives the dial that began it: where the name
// service takes longer than a dial may, the next dial has the answer.
type resolver struct {
	lookupHost lookupFunc

	mu    sync.Mutex
	names map[string]*lookup // guarded by mu; there are as many as the URL, sentinels and Clusters name
}

// A lookup is one question, and its answer once done is closed.
type lookup struct {
	previous []string // the addresses of the lookup before; nil at first, and after a failure
	done     chan struct{}
	addrs    []string
	err      error
	ended    time.Time
}

func newResolver(lookupHost lookupFunc) *resolver {
	if lookupHost == nil {
		lookupHost = net.DefaultResolver.LookupHost
	}
	return &resolver{lookupHost: lookupHost, names: make(map[string]*lookup)}
}

// resolve returns the addresses of host, at least one.
func (r *resolver) resolve(ctx context.Context, host string) ([]string, error) {
	l := r.currentLookup(host)
	var slow <-chan time.Time
	if l.previous != nil {
		timer := time.NewTimer(slowLookup)
		defer timer.Stop()
		slow = timer.C
	}
	select {
	case <-l.done:
		return l.addrs, l.err
	case <-slow:
		return l.previous, nil
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
	}
}

// currentLookup returns the lookup that is under way, or one that has just succeeded, or begins
// one.
func (r *resolver) currentLookup(host string) *lookup {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.names[host]
	if l != nil && !l.isUsedUp() {
		return l
	}
	if len(r.names) >= maxPaced {
		clear(r.names)
	}
	fresh := &lookup{done: make(chan struct{})}
	if l != nil {
		fresh.previous = l.addrs
	}
	l = fresh
	r.names[host] = l
	go func() {
		defer close(l.done)
		ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
		defer cancel()
		l.addrs, l.err = r.lookupHost(ctx, host)
		if l.err == nil && len(l.addrs) == 0 {
			l.err = &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
		}
		l.ended = time.Now()
	}()
	return l
}

// isUsedUp tells whether the lookup has ended and must not be used again.
func (l *lookup) isUsedUp() bool {
	select {
	case <-l.done:
		return l.err != nil || time.Since(l.ended) > namesLast
	default:
		return false
	}
}
