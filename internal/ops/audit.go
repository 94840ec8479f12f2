package ops

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/usage"
)

// AuditLog is the command that tells what operators did.
type AuditLog struct {
	cli.RedisFlags `embed:""`
	Since          string `default:"24h" help:"Show what was done since then: a duration such as 24h, or a time."`
	By             string `help:"Only what this operator did: a part of user@host."`
	What           string `help:"Only acts whose name begins so, such as limits."`
	Target         string `help:"Only acts on this user, policy, node …"`
	Most           int    `default:"1000" help:"Show at most this many."`
	JSON           bool   `help:"Print JSON."`
}

// An ActView is an act, as the command line shows it.
type ActView struct {
	At     int64  `json:"at"` // Unix ms
	By     string `json:"by"`
	What   string `json:"what"`
	Target string `json:"target,omitzero"`
	From   string `json:"from,omitzero"`
	To     string `json:"to,omitzero"`
	Why    string `json:"why,omitzero"`
}

// Run prints acts, newest first.
func (c AuditLog) Run(ctx context.Context, s cli.Streams) error {
	match := func(a *auditlog.Act) bool {
		return strings.Contains(a.By, c.By) && strings.HasPrefix(a.What, c.What) && (c.Target == "" || a.Target == c.Target)
	}
	return printActs(ctx, s, c.RedisFlags, c.Since, c.Most, c.JSON, match)
}

// printActs prints the acts that match.
func printActs(ctx context.Context, s cli.Streams, f cli.RedisFlags, since string, most int, asJSON bool, match func(a *auditlog.Act) bool) error {
	from, err := parseSince("since", since)
	if err != nil {
		return err
	}
	if most < 1 {
		return usage.Errorf("--most must be at least 1")
	}
	rdb, err := f.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	acts, err := auditlog.Read(ctx, rdb, auditlog.Query{Since: from, Most: most, Match: match})
	if err != nil {
		return err
	}
	views := []ActView{}
	for _, a := range acts {
		views = append(views, ActView{a.At.UnixMilli(), a.By, a.What, a.Target, a.From, a.To, a.Why})
	}
	if asJSON {
		return printJSON(s.Out, views)
	}
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "AT\tBY\tWHAT\tTARGET\tFROM\tTO\tWHY")
	for _, v := range views {
		writeTableRow(t, formatTime(v.At), v.By, v.What, v.Target, v.From, strings.ReplaceAll(v.To, "\n", " "), v.Why)
	}
	return t.Flush()
}
