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

// locks opens Redis and the locks in it; done closes it.
func (f redisFlag) locks(ctx context.Context) (m *lock.Manager, done func(), err error) {
	rdb, err := f.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	m = lock.New([]redis.UniversalClient{rdb}, lock.Config{})
	return m, func() { m.Close(); _ = rdb.Close() }, nil
}

type lockList struct {
	redisFlag `embed:""`
	JSON      bool `help:"Print JSON."`
}

// Run prints the locks by name.
func (c lockList) Run(ctx context.Context, s streams) error {
	m, done, err := c.locks(ctx)
	if err != nil {
		return err
	}
	defer done()
	all, err := m.List(ctx)
	if err != nil {
		return err
	}
	return printLocks(s.out, c.JSON, all)
}

type lockShow struct {
	redisFlag `embed:""`
	Name      string `arg:"" help:"The lock's name, such as trade:ann:bob."`
	JSON      bool   `help:"Print JSON."`
}

// Run exits 1 when nobody holds the lock.
func (c lockShow) Run(ctx context.Context, s streams) error {
	m, done, err := c.locks(ctx)
	if err != nil {
		return err
	}
	defer done()
	h, ok, err := m.Show(ctx, c.Name)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("nobody holds that lock")
	}
	return printLocks(s.out, c.JSON, []lock.Holding{h})
}

type lockCleanup struct {
	redisFlag `embed:""`
}

// Run prints how many it removed.
func (c lockCleanup) Run(ctx context.Context, s streams) error {
	m, done, err := c.locks(ctx)
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

// holdingView is a lock as the command line shows it; leftMs is negative when it never runs out.
type holdingView struct {
	Name   string `json:"name"`
	Fence  int64  `json:"fence"`
	LeftMs int64  `json:"leftMs"`
}

func printLocks(w io.Writer, asJSON bool, all []lock.Holding) error {
	views := make([]holdingView, 0, len(all))
	for _, h := range all {
		v := holdingView{Name: h.Name, Fence: h.Fence, LeftMs: -1}
		if h.Left > 0 {
			v.LeftMs = h.Left.Milliseconds()
		}
		views = append(views, v)
	}
	if asJSON {
		return printJSON(w, views)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LOCK\tFENCE\tLEFT")
	for _, v := range views {
		left := "never runs out"
		if v.LeftMs >= 0 {
			left = (time.Duration(v.LeftMs) * time.Millisecond).String()
		}
		row(t, v.Name, strconv.FormatInt(v.Fence, 10), left)
	}
	return t.Flush()
}

// locking makes the locks: on --redis, or on the majority of the servers of --lock-redis.
func (n *node) locking() error {
	clients := []redis.UniversalClient{n.rdb}
	if len(n.cfg.LockRedis) > 0 {
		clients = nil
	}
	for _, url := range n.cfg.LockRedis {
		rdb, err := redisconn.New(url, redisconn.Config{Name: "gateway-locks", PoolSize: 16})
		if err != nil {
			return usageError{fmt.Errorf("--lock-redis: %w", err)}
		}
		n.lockServers = append(n.lockServers, rdb)
		clients = append(clients, rdb)
	}
	n.locks = lock.New(clients, lock.Config{})
	return nil
}

// closeLocks waits for what locks still do, and closes their own servers.
func (n *node) closeLocks() {
	if n.locks != nil {
		n.locks.Close()
	}
	for _, rdb := range n.lockServers {
		_ = rdb.Close()
	}
}
