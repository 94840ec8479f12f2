package ops

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/aeturnis/realtime/internal/cli"
)

type sessionStats struct {
	cli.RedisFlags `embed:""`
	JSON           bool `help:"Print JSON."`
}

// Run prints figures of the whole Redis.
func (c sessionStats) Run(ctx context.Context, s cli.Streams) error {
	rdb, store, err := openSessions(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer rdb.Close()
	stats, err := store.Stats(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, stats)
	}
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ACTIVE\tUSERS\tMOST OF ONE USER\tCREATED\tDESTROYED\tEXPIRED")
	fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%d\t%d\n", stats.Active, stats.Users, stats.MaxPerUser, stats.Created, stats.Destroyed, stats.Expired)
	return t.Flush()
}
