package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/nodecall"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/sessions"
)

// Connections is the command that lists connections.
type Connections struct {
	cli.RedisFlags `embed:""`
	User           string `help:"Only those of this user."`
	Session        string `help:"Only those of this session: its id, or the first digits of its hash, 12 or more, as in the log."`
	Address        string `help:"Only those of this address (IPv6: of its /64)."`
	Top            string `enum:",bytes,age" default:"" help:"Begin with those for which most bytes wait (bytes), or with the oldest (age); else with the newest."`
	Most           int    `default:"50" help:"Show at most this many, and at most 1,000 of each node."`
	JSON           bool   `help:"Print JSON."`
}

// Run exits 1 when a node did not answer.
func (c Connections) Run(ctx context.Context, s cli.Streams) error {
	if c.User != "" {
		if err := checkID("user", c.User); err != nil {
			return err
		}
	}
	if c.Session != "" {
		if err := checkID("session", c.Session); err != nil {
			return err
		}
	}
	if c.Most < 1 || c.Most > 100_000 {
		return usage.Errorf("--most must be 1 to 100000")
	}
	if len(c.Address) > 128 {
		return usage.Errorf("--address is too long")
	}
	rdb, err := c.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	tag, err := c.sessionTag(ctx, sessions.New(rdb, sessions.Config{}))
	if err != nil {
		return err
	}
	answers, err := askNodes[nodecall.Connections](ctx, rdb, s, nodecall.Request{
		What: nodecall.AskConnections, Args: nodecall.ConnectionsArgs{UserID: c.User, Session: tag, Addr: c.Address, By: c.Top, Most: c.Most},
	})
	if err != nil {
		return err
	}
	list, total, waiting := []ConnectionView{}, 0, 0
	for _, n := range answers.all {
		total += n.data.Total
		for _, x := range n.data.List {
			waiting += x.QueuedBytes
			list = append(list, ConnectionView{n.node, x})
		}
	}
	slices.SortStableFunc(list, func(a, b ConnectionView) int {
		switch c.Top {
		case "bytes":
			return cmp.Compare(b.QueuedBytes, a.QueuedBytes)
		case "age":
			return cmp.Compare(a.OpenedAt, b.OpenedAt)
		}
		return cmp.Compare(b.OpenedAt, a.OpenedAt)
	})
	list = list[:min(len(list), c.Most)]
	if c.JSON {
		err = printJSON(s.Out, map[string]any{"total": total, "connections": list, "silent": answers.silentList()})
	} else {
		err = printConnections(s.Out, list, total)
	}
	return errors.Join(err, answers.complain(s))
}

// sessionTag returns what nodes call the session that --session names; "" for none. The connections
// of a session that has ended may still be there, so it is not looked for by its hash.
func (c Connections) sessionTag(ctx context.Context, store *sessions.Store) (string, error) {
	if identity.IsSessionHash(c.Session) {
		_, err := store.Get(ctx, c.Session)
		if errors.Is(err, sessions.ErrNotFound) {
			return c.Session[:identity.TagLength], nil
		} else if err != nil {
			return "", err
		}
	}
	return identity.SessionTag(c.Session), nil
}

const connectionHeader = "  NODE\tCONNECTION\tUSER\tCHARACTER\tSESSION\tADDRESS\tTRANSPORT\tSINCE\tWAITING\tROOMS"

func printConnections(w io.Writer, list []ConnectionView, total int) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.TrimPrefix(connectionHeader, "  "))
	for _, x := range list {
		row := connectionRow(x)
		writeTableRow(t, row...)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d of %d\n", len(list), total)
	return err
}

func connectionRow(x ConnectionView) []string {
	return []string{
		x.Node, x.Conn, x.UserID, x.CharacterID, x.Session, x.Addr, x.Transport, formatTime(x.OpenedAt), strconv.Itoa(x.QueuedBytes), strings.Join(x.Rooms, " "),
	}
}

func writeConnectionRow(w io.Writer, x ConnectionView) {
	row := connectionRow(x)
	row[0] = "  " + row[0]
	writeTableRow(w, row...)
}
