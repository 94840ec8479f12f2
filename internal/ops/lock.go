package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redisdial"
	"github.com/aeturnis/realtime/lock"
)

// Lock is the command that shows and cleans up locks.
type Lock struct {
	List    lockList    `cmd:"" help:"List the locks that are held now."`
	Show    lockShow    `cmd:"" help:"Show one lock; exits 1 when nobody holds it."`
	Cleanup lockCleanup `cmd:"" help:"Remove locks that never expire. No lease of a gateway is like that."`
}

// lockFlags is what every command about locks takes: where they are.
type lockFlags struct {
	cli.RedisFlags `embed:""`
	LockRedis      []string `placeholder:"URL" help:"The locks are on this server, as for serve, and not on --redis. The flag may be repeated."`
	LockPassword   string   `name:"lock-redis-password-file" placeholder:"FILE" help:"Read the password of the servers of --lock-redis from this file, for those whose URL has none."`
}

// openLocks opens Redis and the locks in it. The caller calls done at the end.
func (f lockFlags) openLocks(ctx context.Context) (m *lock.Manager, done func(), err error) {
	if len(f.LockRedis) == 0 {
		rdb, err := f.OpenRedis(ctx)
		if err != nil {
			return nil, nil, err
		}
		m = lock.New(lock.Config{}, rdb)
		return m, func() { m.Close(); _ = rdb.Close() }, nil
	}
	target := f.Target()
	target.LockPasswordFile = f.LockPassword
	servers, err := target.LockServers(f.LockRedis, cli.CommandConfig)
	if err != nil {
		return nil, nil, err
	}
	m = lock.New(lock.Config{}, servers...)
	return m, func() { m.Close(); redisdial.CloseAll(servers) }, nil
}

type lockList struct {
	lockFlags `embed:""`
	JSON      bool `help:"Print JSON."`
}

// Run prints the locks by name, also when one of several servers does not answer.
func (c lockList) Run(ctx context.Context, s cli.Streams) error {
	m, done, err := c.openLocks(ctx)
	if err != nil {
		return err
	}
	defer done()
	all, err := m.List(ctx)
	return errors.Join(printLocks(s.Out, c.JSON, all), err)
}

type lockShow struct {
	lockFlags `embed:""`
	Name      string `arg:"" help:"The lock's name, such as trade:ann:bob."`
	JSON      bool   `help:"Print JSON."`
}

// Run exits 1 when nobody holds the lock.
func (c lockShow) Run(ctx context.Context, s cli.Streams) error {
	m, done, err := c.openLocks(ctx)
	if err != nil {
		return err
	}
	defer done()
	h, ok, err := m.Show(ctx, c.Name)
	switch {
	case ok:
		return errors.Join(printLocks(s.Out, c.JSON, []lock.Holding{h}), err)
	case err != nil:
		return err
	}
	return errors.New("nobody holds that lock")
}

type lockCleanup struct {
	lockFlags `embed:""`
	JSON      bool `help:"Print JSON."`
}

// A CleanupView says how many locks were removed.
type CleanupView struct {
	Removed int `json:"removed"`
}

// Run prints how many it removed.
func (c lockCleanup) Run(ctx context.Context, s cli.Streams) error {
	m, done, err := c.openLocks(ctx)
	if err != nil {
		return err
	}
	defer done()
	n, err := m.Cleanup(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(s.Out, CleanupView{n})
	} else {
		_, err = fmt.Fprintln(s.Out, n)
	}
	if rdb, openErr := c.OpenRedis(ctx); openErr == nil { // with --lock-redis alone there is no audit log
		defer rdb.Close()
		recordAct(ctx, rdb, s, auditlog.Act{What: "lock cleanup", From: fmt.Sprintf("%d locks", n)})
	}
	return err
}

// holdingView is a lock as the command line shows it; leftMs is negative when it never runs out,
// and on is how many servers of all agree who holds it.
type holdingView struct {
	Name    string `json:"name"`
	Class   string `json:"class"` // what stands before the first colon of the name
	Fence   int64  `json:"fence"`
	LeftMs  int64  `json:"leftMs"`
	On      int    `json:"on"`
	Of      int    `json:"of"`
	Node    string `json:"node"`    // who holds it; "" where the holder did not say
	Conn    string `json:"conn"`    // for which connection
	Purpose string `json:"purpose"` // for what
}

func printLocks(w io.Writer, asJSON bool, all []lock.Holding) error {
	views := make([]holdingView, 0, len(all))
	for _, h := range all {
		v := holdingView{
			Name: h.Name, Class: lock.Class(h.Name), Fence: h.Fence, LeftMs: -1, On: h.AgreeingServers, Of: h.Servers,
			Node: h.Holder.Node, Conn: h.Holder.Conn, Purpose: h.Holder.Purpose,
		}
		if h.Left >= 0 {
			v.LeftMs = h.Left.Milliseconds()
		}
		views = append(views, v)
	}
	if asJSON {
		return printJSON(w, views)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LOCK\tCLASS\tNODE\tCONNECTION\tPURPOSE\tFENCE\tLEFT\tSERVERS")
	for _, v := range views {
		left := "never runs out"
		if v.LeftMs >= 0 {
			left = (time.Duration(v.LeftMs) * time.Millisecond).String()
		}
		writeTableRow(t, v.Name, v.Class, v.Node, v.Conn, v.Purpose, strconv.FormatInt(v.Fence, 10), left, fmt.Sprintf("%d/%d", v.On, v.Of))
	}
	return t.Flush()
}
