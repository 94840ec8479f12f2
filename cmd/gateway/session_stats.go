package main

import (
	"context"
	"fmt"
	"text/tabwriter"
)

type sessionStats struct {
	redisFlag `embed:""`
	JSON      bool `help:"Print JSON."`
}

// Run prints figures of the whole Redis.
func (c sessionStats) Run(ctx context.Context, s streams) error {
	store, done, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer done()
	stats, err := store.Stats(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, stats)
	}
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ACTIVE\tUSERS\tMOST OF ONE USER\tCREATED\tDESTROYED\tEXPIRED")
	fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%d\t%d\n", stats.Active, stats.Users, stats.MaxPerUser, stats.Created, stats.Destroyed, stats.Expired)
	return t.Flush()
}
