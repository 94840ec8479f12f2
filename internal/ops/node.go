package ops

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/nodecall"
	"github.com/aeturnis/realtime/internal/usage"
)

// Node is the command that lists and drains nodes.
type Node struct {
	List    nodeList    `cmd:"" help:"List the nodes that serve, and those that do not answer."`
	Drain   nodeDrain   `cmd:"" help:"Send the players of a node elsewhere, spread over its --drain-for. The node accepts no new ones, and goes on."`
	Undrain nodeUndrain `cmd:"" help:"Let a node accept players again."`
}

// A NodeView is a node, as `gateway node list` prints it.
type NodeView struct {
	Node            string `json:"node"`
	Answers         bool   `json:"answers"` // within a second; else the rest is not known
	nodecall.Status `json:",inline"`
}

type nodeList struct {
	cli.RedisFlags `embed:""`
	JSON           bool `help:"Print JSON."`
}

// Run exits 1 when a node did not answer.
func (c nodeList) Run(ctx context.Context, s cli.Streams) error {
	rdb, err := c.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	answers, err := askNodes[nodecall.Status](ctx, rdb, s, nodecall.Request{What: nodecall.AskStatus})
	if err != nil {
		return err
	}
	views := []NodeView{}
	for _, n := range answers.all {
		views = append(views, NodeView{n.node, true, n.data})
	}
	for _, name := range answers.silent {
		views = append(views, NodeView{Node: name})
	}
	if c.JSON {
		err = printJSON(s.Out, views)
	} else {
		err = printNodes(s, views)
	}
	return errors.Join(err, answers.complain(s))
}

func printNodes(s cli.Streams, views []NodeView) error {
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tSTATE\tCONNECTIONS\tWAITING BYTES\tREDIS\tUP FOR\tSETTINGS\tVERSION")
	for _, v := range views {
		if !v.Answers {
			writeTableRow(t, v.Node, "does not answer", "", "", "", "", "", "")
			continue
		}
		state := "serving"
		switch {
		case v.Draining && v.Drain != nil && v.Drain.IsDone:
			state = "drained"
		case v.Draining:
			state = "draining"
		}
		writeTableRow(t, v.Node, state, strconv.Itoa(v.Connections), strconv.Itoa(v.QueuedBytes), v.Redis, formatAge(v.StartedAt), v.Hash, v.Version)
	}
	return t.Flush()
}

type nodeDrain struct {
	cli.RedisFlags `embed:""`
	Node           string        `arg:"" help:"The node's name, as node list shows it."`
	Wait           bool          `help:"Wait until the drain is over, and tell how many left, were closed and came back. The command exits 1 when connections are left."`
	For            time.Duration `default:"10m" help:"With --wait, wait this long at most."`
	JSON           bool          `help:"Print JSON."`
}

var errStillOpen = errors.New("connections are left")

// Run exits 1 when the node does not answer, or is drained already.
func (c nodeDrain) Run(ctx context.Context, s cli.Streams) error {
	rdb, err := c.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	status, err := askNode(ctx, rdb, s, nodecall.AskDrain, c.Node)
	if err != nil {
		return err
	}
	recordAct(ctx, rdb, s, auditlog.Act{What: "node drain", Target: c.Node})
	if !c.Wait {
		return c.printDrain(s, status)
	}
	ctx, cancel := context.WithTimeout(ctx, c.For)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the drain is not over: %w", ctx.Err())
		case <-time.After(300 * time.Millisecond):
		}
		if status, err = askNode(ctx, rdb, s, nodecall.AskStatus, c.Node); err != nil {
			return err
		}
		if status.Drain == nil || status.Drain.IsDone {
			break
		}
	}
	if err := c.printDrain(s, status); err != nil {
		return err
	}
	if status.Drain != nil && status.Drain.Open > 0 {
		return errStillOpen
	}
	return nil
}

func (c nodeDrain) printDrain(s cli.Streams, status nodecall.Status) error {
	if c.JSON {
		return printJSON(s.Out, status.Drain)
	}
	d := status.Drain
	switch {
	case d == nil:
	case !d.IsDone:
		fmt.Fprintf(s.Out, "draining: %d connections\n", d.Connections)
	default:
		fmt.Fprintf(s.Out, "drained in %s: of %d connections %d were closed, %d left by themselves, %d are open; of %d users %d came back on other nodes\n",
			time.Duration(d.TookMs)*time.Millisecond, d.Connections, d.Closed, d.Left, d.Open, d.Users, d.Back)
	}
	return nil
}

type nodeUndrain struct {
	cli.RedisFlags `embed:""`
	Node           string `arg:"" help:"The node's name, as node list shows it."`
	JSON           bool   `help:"Print JSON."`
}

// Run exits 1 when the node does not answer, or is not drained. As JSON it prints the node.
func (c nodeUndrain) Run(ctx context.Context, s cli.Streams) error {
	rdb, err := c.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	status, err := askNode(ctx, rdb, s, nodecall.AskUndrain, c.Node)
	if err != nil {
		return err
	}
	recordAct(ctx, rdb, s, auditlog.Act{What: "node undrain", Target: c.Node})
	if c.JSON {
		return printJSON(s.Out, NodeView{c.Node, true, status})
	}
	return nil
}

// askNode asks one node.
func askNode(ctx context.Context, rdb redis.UniversalClient, s cli.Streams, what, node string) (status nodecall.Status, err error) {
	if node == "" || len(node) > 256 {
		return status, usage.Errorf("a node has a name of 1 to 256 bytes")
	}
	answers, err := askNodes[nodecall.Status](ctx, rdb, s, nodecall.Request{What: what, Node: node})
	switch {
	case err != nil:
		return status, err
	case len(answers.failed) > 0:
		return status, errors.New(answers.failed[0])
	case len(answers.all) == 0:
		return status, fmt.Errorf("node %q did not answer within a second: `gateway node list` lists those that do", node)
	}
	return answers.all[0].data, nil
}
