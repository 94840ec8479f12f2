package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/redisconn"
)

type lockCmd struct {
	List    lockList    `cmd:"" help:"List the locks that are held now."`
	Show    lockShow    `cmd:"" help:"Show one lock; exits 1 when nobody holds it."`
	Cleanup lockCleanup `cmd:"" help:"Remove locks that never run out: no lease of ours is like that."`
}

// lockFlag is what every command about locks takes: where they are.
type lockFlag struct {
	redisFlag `embed:""`
	LockRedis []string `placeholder:"URL" help:"Where the locks are, as for serve, when that is not --redis; may be repeated."`
}

// open opens Redis and the locks in it; done closes it.
func (f lockFlag) open(ctx context.Context) (m *lock.Manager, done func(), err error) {
	if len(f.LockRedis) == 0 {
		rdb, err := f.redisFlag.open(ctx)
		if err != nil {
			return nil, nil, err
		}
		m = lock.New([]redis.UniversalClient{rdb}, lock.Config{})
		return m, func() { m.Close(); _ = rdb.Close() }, nil
	}
	servers, err := lockServers(f.LockRedis, redisconn.Config{Name: "gateway-command", PoolSize: 4})
	if err != nil {
		return nil, nil, err
	}
	m = lock.New(servers, lock.Config{})
	return m, func() { m.Close(); closeAll(servers) }, nil
}

// lockServers makes the clients of --lock-redis. One server named twice would never be a majority: what its first vote
// takes, the second finds taken.
func lockServers(urls []string, cfg redisconn.Config) (servers []redis.UniversalClient, err error) {
	for i, url := range urls {
		for _, before := range urls[:i] {
			if redisconn.Same(before, url) {
				closeAll(servers)
				return nil, usage("--lock-redis names one server twice: %s and %s; a majority needs servers that do not depend on each other",
					redisconn.Redact(before), redisconn.Redact(url))
			}
		}
		rdb, err := redisconn.New(url, cfg)
		if err != nil {
			closeAll(servers)
			return nil, usageError{fmt.Errorf("--lock-redis: %w", err)}
		}
		servers = append(servers, rdb)
	}
	return servers, nil
}

func closeAll(clients []redis.UniversalClient) {
	for _, rdb := range clients {
		_ = rdb.Close()
	}
}

type lockList struct {
	lockFlag `embed:""`
	JSON     bool `help:"Print JSON."`
}

// Run prints the locks by name, also when one of several servers does not answer.
func (c lockList) Run(ctx context.Context, s streams) error {
	m, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	all, err := m.List(ctx)
	return errors.Join(printLocks(s.out, c.JSON, all), err)
}

type lockShow struct {
	lockFlag `embed:""`
	Name     string `arg:"" help:"The lock's name, such as trade:ann:bob."`
	JSON     bool   `help:"Print JSON."`
}

// Run exits 1 when nobody holds the lock.
func (c lockShow) Run(ctx context.Context, s streams) error {
	m, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	h, ok, err := m.Show(ctx, c.Name)
	switch {
	case ok:
		return errors.Join(printLocks(s.out, c.JSON, []lock.Holding{h}), err)
	case err != nil:
		return err
	}
	return errors.New("nobody holds that lock")
}

type lockCleanup struct {
	lockFlag `embed:""`
}

// Run prints how many it removed.
func (c lockCleanup) Run(ctx context.Context, s streams) error {
	m, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	n, err := m.Cleanup(ctx)
	if err == nil {
		fmt.Fprintln(s.out, n)
	}
	return err
}

// holdingView is a lock as the command line shows it; leftMs is negative when it never runs out, and on is how many servers
// of all agree who holds it.
type holdingView struct {
	Name   string `json:"name"`
	Fence  int64  `json:"fence"`
	LeftMs int64  `json:"leftMs"`
	On     int    `json:"on"`
	Of     int    `json:"of"`
}

func printLocks(w io.Writer, asJSON bool, all []lock.Holding) error {
	views := make([]holdingView, 0, len(all))
	for _, h := range all {
		v := holdingView{Name: h.Name, Fence: h.Fence, LeftMs: -1, On: h.On, Of: h.Of}
		if h.Left >= 0 {
			v.LeftMs = h.Left.Milliseconds()
		}
		views = append(views, v)
	}
	if asJSON {
		return printJSON(w, views)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LOCK\tFENCE\tLEFT\tSERVERS")
	for _, v := range views {
		left := "never runs out"
		if v.LeftMs >= 0 {
			left = (time.Duration(v.LeftMs) * time.Millisecond).String()
		}
		row(t, v.Name, strconv.FormatInt(v.Fence, 10), left, fmt.Sprintf("%d/%d", v.On, v.Of))
	}
	return t.Flush()
}

// locking makes the locks: on --redis, or on the majority of the servers of --lock-redis.
func (n *node) locking() (err error) {
	clients := []redis.UniversalClient{n.rdb}
	if len(n.cfg.LockRedis) > 0 {
		if n.lockServers, err = lockServers(n.cfg.LockRedis, redisconn.Config{Name: "gateway-locks", PoolSize: 16}); err != nil {
			return err
		}
		clients = n.lockServers
	}
	n.locks = lock.New(clients, lock.Config{})
	return nil
}

// closeLocks waits for what locks still do, and closes their own servers.
func (n *node) closeLocks() {
	if n.locks != nil {
		n.locks.Close()
	}
	closeAll(n.lockServers)
}
