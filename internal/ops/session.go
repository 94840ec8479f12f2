package ops

import (
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

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/usage"
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

// openSessions opens Redis and the sessions in it. The caller calls done at the end.
func openSessions(ctx context.Context, f cli.RedisFlags) (store *sessions.Store, done func(), err error) {
	rdb, err := f.OpenRedis(ctx)
	if err != nil {
		return nil, nil, err
	}
	return sessions.New(rdb, sessions.Config{}), func() { _ = rdb.Close() }, nil
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
	store, done, err := openSessions(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	session, err := store.Create(ctx, c.User, c.Username, c.Role, sessions.Options{TTL: c.TTL, CharacterID: c.Character})
	if err != nil {
		return asUsageError(err)
	}
	if c.JSON {
		return printJSON(s.Out, sessionViewOf(session))
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

// A SessionView is a session as the command line shows it. Times are Unix ms.
type SessionView struct {
	SessionID      string   `json:"sessionId"`
	UserID         string   `json:"userId"`
	Username       string   `json:"username"`
	CharacterID    string   `json:"characterId"`
	Roles          []string `json:"roles"`
	CreatedAt      int64    `json:"createdAt"`
	LastActivityAt int64    `json:"lastActivityAt"`
	ExpiresAt      int64    `json:"expiresAt"`
	TTLMs          int64    `json:"ttlMs"`
}

// sessionViewOf returns a session as the command line shows it.
func sessionViewOf(s sessions.Session) SessionView {
	roles := s.Roles
	if roles == nil {
		roles = []string{}
	}
	return SessionView{
		s.ID, s.UserID, s.Username, s.CharacterID, roles,
		s.CreatedAt.UnixMilli(), s.LastActivityAt.UnixMilli(), s.ExpiresAt.UnixMilli(), s.TTL.Milliseconds(),
	}
}

func printJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v, jsontext.Multiline(true))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, string(b))
	return err
}

func printSessions(w io.Writer, all ...sessions.Session) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SESSION\tUSER\tNAME\tCHARACTER\tROLES\tLAST ACTIVITY\tEXPIRES IN")
	for _, s := range all {
		writeTableRow(t, s.ID, s.UserID, s.Username, s.CharacterID, strings.Join(s.Roles, ","),
			s.LastActivityAt.UTC().Format(time.RFC3339), time.Until(s.ExpiresAt).Round(time.Second).String())
	}
	return t.Flush()
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
	ID             string `arg:"" help:"The session's id."`
	JSON           bool   `help:"Print JSON."`
}

// Run exits 1 when there is no such session.
func (c sessionShow) Run(ctx context.Context, s cli.Streams) error {
	if err := checkID("id", c.ID); err != nil {
		return err
	}
	store, done, err := openSessions(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	session, err := store.Get(ctx, c.ID)
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		return errNoSession
	case err != nil:
		return err
	case c.JSON:
		return printJSON(s.Out, sessionViewOf(session))
	}
	return printSessions(s.Out, session)
}

type sessionList struct {
	cli.RedisFlags `embed:""`
	User           string `arg:"" help:"The user's id."`
	JSON           bool   `help:"Print JSON."`
}

// Run lists nothing, and exits 0, for a user without sessions.
func (c sessionList) Run(ctx context.Context, s cli.Streams) error {
	if err := checkID("user", c.User); err != nil {
		return err
	}
	store, done, err := openSessions(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	all, err := store.List(ctx, c.User)
	if err != nil {
		return err
	}
	if !c.JSON {
		return printSessions(s.Out, all...)
	}
	views := make([]SessionView, 0, len(all))
	for _, x := range all {
		views = append(views, sessionViewOf(x))
	}
	return printJSON(s.Out, views)
}

type sessionRevoke struct {
	cli.RedisFlags `embed:""`
	ID             string `arg:"" help:"The session's id."`
	Reason         string `default:"Ended by an operator." help:"The player is told this reason."`
}

// Run exits 1 when there was no such session.
func (c sessionRevoke) Run(ctx context.Context) error {
	if err := checkID("id", c.ID); err != nil {
		return err
	}
	store, done, err := openSessions(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	err = store.Destroy(ctx, c.ID, sessions.Revoked, c.Reason)
	if errors.Is(err, sessions.ErrNotFound) {
		return errNoSession
	}
	return err
}

type sessionRevokeUser struct {
	cli.RedisFlags `embed:""`
	User           string `arg:"" help:"The user's id."`
	Reason         string `default:"Ended by an operator." help:"The player is told this reason."`
}

// Run prints how many sessions were ended.
func (c sessionRevokeUser) Run(ctx context.Context, s cli.Streams) error {
	if err := checkID("user", c.User); err != nil {
		return err
	}
	store, done, err := openSessions(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	n, err := store.DestroyUser(ctx, c.User, sessions.Revoked, c.Reason, "")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.Out, n)
	return err
}
