package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/nodecall"
	"github.com/aeturnis/realtime/internal/usage"
)

type limitsTop struct {
	cli.RedisFlags `embed:""`
	Most           int  `default:"5" help:"Of each policy, name at most this many."`
	JSON           bool `help:"Print JSON."`
}

// A PolicyTop is a policy with whom it refuses, as `gateway limits top` prints it.
type PolicyTop struct {
	Policy  string             `json:"policy"`
	Scope   string             `json:"scope"`
	Allowed uint64             `json:"allowed"` // of all nodes, since each started
	Refused uint64             `json:"refused"`
	Users   []nodecall.Spender `json:"users"` // who was refused most often, over a socket
	Now     []nodecall.Denied  `json:"now"`   // who is refused now
}

// Run prints the policies by how often they refuse. It exits 1 when a node did not answer.
func (c limitsTop) Run(ctx context.Context, s cli.Streams) error {
	if c.Most < 1 || c.Most > 1000 {
		return usage.Errorf("--most must be 1 to 1000")
	}
	rdb, err := c.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	answers, err := askNodes[nodecall.Limits](ctx, rdb, s, nodecall.Request{What: nodecall.AskLimits, Args: nodecall.LimitsArgs{Most: 10 * c.Most}})
	if err != nil {
		return err
	}
	top := c.mergeLimits(answers.all)
	if c.JSON {
		err = printJSON(s.Out, map[string]any{"policies": top, "silent": answers.silentList()})
	} else {
		err = printLimitsTop(s, top)
	}
	return errors.Join(err, answers.complain(s))
}

// mergeLimits adds up what the nodes counted.
func (c limitsTop) mergeLimits(all []fromNode[nodecall.Limits]) []PolicyTop {
	policies := map[string]*PolicyTop{}
	times := map[nodecall.Spender]int64{} // with Times 0
	denied := map[nodecall.Denied]int64{} // with ForMs 0
	for _, n := range all {
		for _, p := range n.data.Policies {
			top := policies[p.Policy]
			if top == nil {
				top = &PolicyTop{Policy: p.Policy, Scope: p.Scope, Users: []nodecall.Spender{}, Now: []nodecall.Denied{}}
				policies[p.Policy] = top
			}
			top.Allowed += p.Allowed
			top.Refused += p.Refused
		}
		for _, x := range n.data.Spenders {
			times[nodecall.Spender{Policy: x.Policy, UserID: x.UserID}] += x.Times
		}
		for _, x := range n.data.Denied {
			at := nodecall.Denied{Policy: x.Policy, Subject: x.Subject}
			denied[at] = max(denied[at], x.ForMs)
		}
	}
	for at, n := range times {
		if top := policies[at.Policy]; top != nil {
			at.Times = n
			top.Users = append(top.Users, at)
		}
	}
	for at, ms := range denied {
		if top := policies[at.Policy]; top != nil {
			at.ForMs = ms
			top.Now = append(top.Now, at)
		}
	}
	list := []PolicyTop{}
	for _, top := range policies {
		slices.SortFunc(top.Users, func(a, b nodecall.Spender) int {
			return cmp.Or(cmp.Compare(b.Times, a.Times), strings.Compare(a.UserID, b.UserID))
		})
		slices.SortFunc(top.Now, func(a, b nodecall.Denied) int {
			return cmp.Or(cmp.Compare(b.ForMs, a.ForMs), strings.Compare(a.Subject, b.Subject))
		})
		top.Users, top.Now = top.Users[:min(len(top.Users), c.Most)], top.Now[:min(len(top.Now), c.Most)]
		list = append(list, *top)
	}
	slices.SortFunc(list, func(a, b PolicyTop) int {
		return cmp.Or(cmp.Compare(b.Refused, a.Refused), strings.Compare(a.Policy, b.Policy))
	})
	return list
}

func printLimitsTop(s cli.Streams, top []PolicyTop) error {
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POLICY\tBY\tREFUSED\tALLOWED\tWHOM MOST\tREFUSED NOW")
	for _, p := range top {
		var users, now []string
		for _, u := range p.Users {
			users = append(users, fmt.Sprintf("%s (%d)", u.UserID, u.Times))
		}
		for _, d := range p.Now {
			now = append(now, fmt.Sprintf("%s (for %s)", d.Subject, (time.Duration(d.ForMs)*time.Millisecond).Round(time.Millisecond)))
		}
		writeTableRow(t, p.Policy, p.Scope, strconv.FormatUint(p.Refused, 10), strconv.FormatUint(p.Allowed, 10), strings.Join(users, ", "), strings.Join(now, ", "))
	}
	return t.Flush()
}

type limitsHistory struct {
	cli.RedisFlags `embed:""`
	Policy         string `arg:"" optional:"" help:"Only changes of this policy, NAME or NAME@ROLE."`
	Since          string `default:"168h" help:"Show what was changed since then: a duration such as 24h, or a time."`
	Most           int    `default:"1000" help:"Show at most this many."`
	JSON           bool   `help:"Print JSON."`
}

// setLimit is what the audit log calls a change of a limit.
const setLimit = "limits set"

// Run prints who set what, when, from and to, newest first.
func (c limitsHistory) Run(ctx context.Context, s cli.Streams) error {
	return printActs(ctx, s, c.RedisFlags, c.Since, c.Most, c.JSON, func(a *auditlog.Act) bool {
		return a.What == setLimit && (c.Policy == "" || a.Target == c.Policy)
	})
}
