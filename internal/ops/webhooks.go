package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/internal/webhooks"
)

// Webhooks is the command about what the receiver of webhooks did not take.
type Webhooks struct {
	List   webhooksList   `cmd:"" help:"List the webhooks that are parked, because the receiver did not take them, and count those that wait."`
	Replay webhooksReplay `cmd:"" help:"Send parked webhooks again, behind those that wait."`
}

// A WebhooksView is what was not delivered, as the command line shows it.
type WebhooksView = webhooks.Backlog

type webhooksList struct {
	cli.RedisFlags `embed:""`
	Type           string `help:"Only webhooks of this type, such as trade.completed."`
	Most           int    `default:"1000" help:"Show at most this many."`
	JSON           bool   `help:"Print JSON, with what the receiver did not take."`
}

// Run prints the parked webhooks, oldest first.
func (c webhooksList) Run(ctx context.Context, s cli.Streams) error {
	if c.Most < 1 {
		return usage.Errorf("--most must be at least 1")
	}
	rdb, err := c.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	view := WebhooksView{Parked: []webhooks.ParkedEvent{}}
	err = eachParked(ctx, rdb, func(page webhooks.Backlog) (goOn bool, err error) {
		view.Waiting, view.Dropped, view.Total = page.Waiting, page.Dropped, page.Total
		for _, e := range page.Parked {
			if (c.Type == "" || e.Type == c.Type) && len(view.Parked) < c.Most {
				view.Parked = append(view.Parked, e)
			}
		}
		return len(view.Parked) < c.Most, nil
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, view)
	}
	writeTableRow(s.Out, fmt.Sprintf("%d wait, %d are parked, %d were dropped", view.Waiting, view.Total, view.Dropped))
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tTYPE\tAT\tPARKED AT\tTRIES\tPLAYERS\tLAST ERROR")
	for _, e := range view.Parked {
		writeTableRow(t, e.ID, e.Type, formatTime(e.At), formatTime(e.ParkedAt), strconv.Itoa(e.Tries), string(e.Players), e.LastError)
	}
	return t.Flush()
}

// eachParked calls f with the parked webhooks, a page at a time, until there are no more or f
// returns false.
func eachParked(ctx context.Context, rdb redis.UniversalClient, f func(page webhooks.Backlog) (goOn bool, err error)) error {
	const pageSize = 500
	after := ""
	for {
		page, err := webhooks.List(ctx, rdb, after, pageSize)
		if err != nil {
			return err
		}
		goOn, err := f(page)
		if err != nil || !goOn || len(page.Parked) < pageSize {
			return err
		}
		after = page.Parked[len(page.Parked)-1].Place
	}
}

type webhooksReplay struct {
	cli.RedisFlags `embed:""`
	IDs            []string `arg:"" optional:"" name:"id" help:"The ids of webhooks, as list shows them."`
	All            bool     `help:"Replay all that are parked now."`
	JSON           bool     `help:"Print JSON."`
}

// A ReplayView says how many webhooks are sent again.
type ReplayView struct {
	Replayed int `json:"replayed"`
}

// Run exits 1 when a webhook is not parked.
func (c webhooksReplay) Run(ctx context.Context, s cli.Streams) error {
	if c.All == (len(c.IDs) > 0) {
		return usage.Errorf("either ids or --all is required")
	}
	rdb, err := c.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	outbox, err := webhooks.OpenOutbox(ctx, rdb)
	if err != nil {
		return err
	}
	wanted, missing := map[string]bool{}, map[string]bool{}
	for _, id := range c.IDs {
		wanted[id], missing[id] = true, true
	}
	view := ReplayView{}
	err = eachParked(ctx, rdb, func(page webhooks.Backlog) (goOn bool, err error) {
		for _, e := range page.Parked {
			if !c.All && !wanted[e.ID] {
				continue
			}
			delete(missing, e.ID)
			if outbox == nil {
				return false, errors.New("no node tells webhooks: nobody would send them")
			}
			wasParked, err := outbox.Replay(ctx, e.Place)
			if err != nil {
				return false, err
			}
			if wasParked {
				view.Replayed++
			}
		}
		return true, nil
	})
	if view.Replayed > 0 {
		recordAct(ctx, rdb, s, auditlog.Act{What: "webhooks replay", Target: cmp.Or(firstOf(c.IDs), "all"), To: strconv.Itoa(view.Replayed)})
	}
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(s.Out, view)
	} else {
		_, err = fmt.Fprintf(s.Out, "%d are sent again\n", view.Replayed)
	}
	if len(missing) > 0 {
		return fmt.Errorf("%d of the webhooks are not parked", len(missing))
	}
	return err
}

// firstOf returns the first text, or "".
func firstOf(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[0]
}
