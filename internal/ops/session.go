package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/operate"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/internal/webhooks"
	"github.com/aeturnis/realtime/sessions"
)

// Session is the command that manages sessions.
type Session struct {
	Create     sessionCreate     `cmd:"" help:"Create a session and print its id."`
	Show       sessionShow       `cmd:"" help:"Show one session."`
	List       sessionList       `cmd:"" help:"List a user's sessions."`
	Revoke     sessionRevoke     `cmd:"" help:"End one session: its sockets are closed everywhere."`
	RevokeUser sessionRevokeUser `cmd:"" help:"End all sessions of a user."`
	Stats      sessionStats      `cmd:"" help:"Count sessions. It walks the whole keyspace."`
}

var errNoSession = errors.New("there is no such session")

// openSessions opens Redis and the sessions in it. The caller closes the client.
func openSessions(ctx context.Context, f cli.RedisFlags) (rdb redis.UniversalClient, store *sessions.Store, err error) {
	rdb, err = f.OpenRedis(ctx)
	if err != nil {
		return nil, nil, err
	}
	store, err = newSessions(ctx, rdb)
	if err != nil {
		_ = rdb.Close()
	}
	return rdb, store, err
}

// newSessions returns sessions whose ends are told to the receiver of webhooks, where the nodes
// tell them.
func newSessions(ctx context.Context, rdb redis.UniversalClient) (*sessions.Store, error) {
	outbox, err := webhooks.OpenOutbox(ctx, rdb)
	if err != nil {
		return nil, err
	}
	return sessions.New(rdb, sessions.Config{AnnounceLua: outbox.SessionLua()}), nil
}

type sessionCreate struct {
	cli.RedisFlags `embed:""`
	User           string        `required:"" help:"The user's id."`
	Username       string        `required:"" help:"The user's name."`
	Role           []string      `help:"The session has this role. The flag may be repeated."`
	Character      string        `help:"The character's id."`
	TTL            time.Duration `default:"30m" help:"The session ends after this time without activity."`
	JSON           bool          `help:"Print the whole session as JSON."`
}

// Run prints the session id, and nothing else, on standard output.
func (c sessionCreate) Run(ctx context.Context, s cli.Streams) error {
	if c.TTL < time.Second { // the session would be gone before somebody can use its id
		return usage.Errorf("--ttl must be at least a second")
	}
	if err := checkID("user", c.User); err != nil {
		return err
	}
	rdb, store, err := openSessions(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer rdb.Close()
	session, err := store.Create(ctx, c.User, c.Username, c.Role, sessions.Options{TTL: c.TTL, CharacterID: c.Character})
	if err != nil {
		return asUsageError(err)
	}
	recordAct(ctx, rdb, s, auditlog.Act{What: "session create", Target: c.User, To: "session " + identity.SessionTag(session.ID), Why: strings.Join(c.Role, " ")})
	if c.JSON {
		return printJSON(s.Out, sessionViewOf(session, true)) // the id is what was asked for
	}
	_, err = fmt.Fprintln(s.Out, session.ID)
	return err
}

// asUsageError marks what a service finds INVALID as wrong usage, and names the field.
func asUsageError(err error) error {
	var f *fault.Fault
	if errors.As(err, &f) && f.Code == fault.ErrInvalid.Code {
		return usage.Errorf("%v: %v", f.Detail("field"), f.Detail("reason"))
	}
	return err
}

// checkID returns wrong usage that names the argument unless id is an id, of whatever it is.
func checkID(argument, id string) error { return asUsageError(identity.CheckID(argument, id)) }

// A SessionView is a session as the command line shows it.
type SessionView = operate.SessionView

// sessionViewOf returns a session as the command line shows it, with its id if it is to be
// revealed.
func sessionViewOf(s sessions.Session, reveal bool) SessionView {
	return operate.ViewSession(s, reveal)
}

func printJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v, jsontext.Multiline(true), json.Deterministic(true))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, string(b))
	return err
}

const sessionHeader = "  SESSION\tUSER\tNAME\tCHARACTER\tROLES\tLAST ACTIVITY\tEXPIRES IN"

func printSessions(w io.Writer, reveal bool, all ...sessions.Session) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.TrimPrefix(sessionHeader, "  "))
	for _, s := range all {
		writeTableRow(t, sessionRow(sessionViewOf(s, reveal))...)
	}
	return t.Flush()
}

func sessionRow(v SessionView) []string {
	return []string{
		cmp.Or(v.SessionID, v.Session), v.UserID, v.Username, v.CharacterID, strings.Join(v.Roles, ","),
		formatTime(v.LastActivityAt), time.Until(time.UnixMilli(v.ExpiresAt)).Round(time.Second).String(),
	}
}

func writeSessionRow(w io.Writer, v SessionView) {
	row := sessionRow(v)
	row[0] = "  " + row[0]
	writeTableRow(w, row...)
}

// writeTableRow writes the cells of a row. A character that could move a terminal's cursor, which
// another program may have stored, is shown as ?.
func writeTableRow(w io.Writer, cells ...string) {
	for i, c := range cells {
		cells[i] = strings.Map(func(r rune) rune {
			if unicode.IsPrint(r) {
				return r
			}
			return '?'
		}, c)
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

type sessionShow struct {
	cli.RedisFlags `embed:""`
	ID             string `arg:"" help:"The session's id, or the first digits of its hash, 12 or more."`
	Reveal         bool   `help:"Show the whole session id: whoever has it is that user."`
	JSON           bool   `help:"Print JSON."`
}

// Run exits 1 when there is no such session.
func (c sessionShow) Run(ctx context.Context, s cli.Streams) error {
	if err := checkID("id", c.ID); err != nil {
		return err
	}
	rdb, store, err := openSessions(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer rdb.Close()
	session, err := resolveSession(ctx, store, c.ID)
	switch {
	case err != nil:
		return err
	case c.JSON:
		return printJSON(s.Out, sessionViewOf(session, c.Reveal))
	}
	return printSessions(s.Out, c.Reveal, session)
}

type sessionList struct {
	cli.RedisFlags `embed:""`
	User           string `arg:"" help:"The user's id."`
	Reveal         bool   `help:"Show whole session ids: whoever has one is that user."`
	JSON           bool   `help:"Print JSON."`
}

// Run lists nothing, and exits 0, for a user without sessions.
func (c sessionList) Run(ctx context.Context, s cli.Streams) error {
	if err := checkID("user", c.User); err != nil {
		return err
	}
	rdb, store, err := openSessions(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer rdb.Close()
	all, err := store.List(ctx, c.User)
	if err != nil {
		return err
	}
	if !c.JSON {
		return printSessions(s.Out, c.Reveal, all...)
	}
	views := make([]SessionView, 0, len(all))
	for _, x := range all {
		views = append(views, sessionViewOf(x, c.Reveal))
	}
	return printJSON(s.Out, views)
}

type sessionRevoke struct {
	cli.RedisFlags `embed:""`
	ID             string `arg:"" help:"The session's id, or the first digits of its hash, 12 or more."`
	Reason         string `default:"Ended by an operator." help:"The player is told this reason."`
	JSON           bool   `help:"Print JSON."`
}

// Run exits 1 when there was no such session. As JSON it prints the session as it was.
func (c sessionRevoke) Run(ctx context.Context, s cli.Streams) error {
	if err := checkID("id", c.ID); err != nil {
		return err
	}
	rdb, store, err := openSessions(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer rdb.Close()
	session, err := resolveSession(ctx, store, c.ID)
	if err != nil {
		return err
	}
	err = store.Destroy(ctx, session.ID, sessions.Revoked, c.Reason)
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		return errNoSession
	case err != nil:
		return err
	}
	recordAct(ctx, rdb, s, auditlog.Act{What: "session revoke", Target: session.UserID, From: "session " + identity.SessionTag(session.ID), Why: c.Reason})
	if c.JSON {
		return printJSON(s.Out, sessionViewOf(session, false))
	}
	return nil
}

type sessionRevokeUser struct {
	cli.RedisFlags `embed:""`
	User           string `arg:"" help:"The user's id."`
	Reason         string `default:"Ended by an operator." help:"The player is told this reason."`
	JSON           bool   `help:"Print JSON."`
}

// Run prints how many sessions were ended.
func (c sessionRevokeUser) Run(ctx context.Context, s cli.Streams) error {
	if err := checkID("user", c.User); err != nil {
		return err
	}
	rdb, store, err := openSessions(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer rdb.Close()
	n, err := store.DestroyUser(ctx, c.User, sessions.Revoked, c.Reason, "")
	if err != nil {
		return err
	}
	recordAct(ctx, rdb, s, auditlog.Act{What: "session revoke-user", Target: c.User, From: fmt.Sprintf("%d sessions", n), Why: c.Reason})
	return EndedView{UserID: c.User, Sessions: n, Reason: c.Reason}.write(s, c.JSON)
}
