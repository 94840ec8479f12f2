package ops

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/sessions"
)

// User is the command that shows and bans users.
type User struct {
	Show  userShow  `cmd:"" help:"Show everything about a user: sessions, connections, why the user was refused, limits, sanctions, open trades and fights."`
	Ban   userBan   `cmd:"" help:"Keep a user from logging in and connecting, and end all sessions of the user."`
	Unban userUnban `cmd:"" help:"Lift the ban of a user; exits 1 when there is none."`
}

var errNoBan = errors.New("there is no such ban")

type userBan struct {
	cli.RedisFlags `embed:""`
	User           string        `arg:"" help:"The user's id."`
	For            time.Duration `required:"" help:"The ban ends after this time, such as 24h."`
	Reason         string        `help:"The player is told this reason."`
	JSON           bool          `help:"Print JSON."`
}

// An EndedView says how many sessions of a user were ended.
type EndedView struct {
	UserID   string `json:"userId"`
	Sessions int    `json:"sessions"`        // that were ended
	ForMs    int64  `json:"forMs,omitzero"`  // of a ban
	Reason   string `json:"reason,omitzero"` // that the player is told
}

// write writes the view, or the number of sessions alone.
func (v EndedView) write(s cli.Streams, asJSON bool) error {
	if asJSON {
		return printJSON(s.Out, v)
	}
	_, err := fmt.Fprintln(s.Out, v.Sessions)
	return err
}

// Run prints how many sessions were ended.
func (c userBan) Run(ctx context.Context, s cli.Streams) error {
	rdb, err := c.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	store, err := newSessions(ctx, rdb)
	if err != nil {
		return err
	}
	n, err := store.BanUser(ctx, c.User, c.Reason, c.For)
	if err != nil {
		return asUsageError(err)
	}
	recordAct(ctx, rdb, s, auditlog.Act{What: "user ban", Target: c.User, To: c.For.String(), Why: c.Reason})
	return EndedView{UserID: c.User, Sessions: n, ForMs: c.For.Milliseconds(), Reason: c.Reason}.write(s, c.JSON)
}

type userUnban struct {
	cli.RedisFlags `embed:""`
	User           string `arg:"" help:"The user's id."`
	JSON           bool   `help:"Print JSON."`
}

// A UserView names a user, whom a command has changed.
type UserView struct {
	UserID string `json:"userId"`
}

// Run exits 1 when the user was not banned.
func (c userUnban) Run(ctx context.Context, s cli.Streams) error {
	if err := identity.CheckID("user", c.User); err != nil {
		return asUsageError(err)
	}
	rdb, err := c.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	err = sessions.New(rdb, sessions.Config{}).UnbanUser(ctx, c.User)
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		return errNoBan
	case err != nil:
		return err
	}
	recordAct(ctx, rdb, s, auditlog.Act{What: "user unban", Target: c.User})
	if c.JSON {
		return printJSON(s.Out, UserView{c.User})
	}
	return nil
}
