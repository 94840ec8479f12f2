package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/nodecall"
	"github.com/aeturnis/realtime/internal/operate"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/sessions"
)

// operatorOf returns who runs this command, as user@host. Behind sudo it is the user who called it.
func operatorOf(s cli.Streams) string {
	name := s.Getenv("SUDO_USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	host, _ := os.Hostname()
	return cmp.Or(name, strconv.Itoa(os.Getuid())) + "@" + cmp.Or(host, "localhost")
}

// recordAct records what the command has done, and tells the nodes, which log it. The act stands
// when that fails, so the failure is only told.
func recordAct(ctx context.Context, rdb redis.UniversalClient, s cli.Streams, a auditlog.Act) {
	a.By = operatorOf(s)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := auditlog.Record(ctx, rdb, a); err != nil {
		fmt.Fprintln(s.Err, "done, but not in the audit log:", err)
		return
	}
	told := nodecall.Act{What: a.What, Target: cutText(a.Target), From: cutText(a.From), To: cutText(a.To), Why: cutText(a.Why)}
	if err := nodecall.Tell(ctx, rdb, nodecall.Request{What: nodecall.TellAct, By: a.By, Args: told}); err != nil {
		fmt.Fprintln(s.Err, "done, but not in the logs of the nodes:", err)
	}
}

// cutText returns at most 500 bytes of a text, as valid UTF-8.
func cutText(text string) string { return strings.ToValidUTF8(text[:min(len(text), 500)], "?") }

// errSilentNodes says that the answer is not whole.
var errSilentNodes = errors.New("not all nodes have answered within a second")

// fromNode is what one node answered.
type fromNode[T any] struct {
	node string
	data T
}

// nodeAnswers are what the nodes answered.
type nodeAnswers[T any] struct {
	all    []fromNode[T]
	silent []string
	failed []string // "node: why"
}

// askNodes asks the nodes that serve. Only Redis can make it fail.
func askNodes[T any](ctx context.Context, rdb redis.UniversalClient, s cli.Streams, r nodecall.Request) (out nodeAnswers[T], err error) {
	r.By = operatorOf(s)
	answers, err := operate.AskNodes[T](ctx, rdb, r)
	for _, a := range answers.All {
		out.all = append(out.all, fromNode[T]{a.Node, a.Data})
	}
	out.silent, out.failed = answers.Silent, answers.Failed
	return out, err
}

// complain names the nodes that did not answer, on standard error, and returns an error then.
func (a nodeAnswers[T]) complain(s cli.Streams) error {
	for _, name := range a.silent {
		writeTableRow(s.Err, "node "+name+" did not answer within a second")
	}
	for _, why := range a.failed {
		writeTableRow(s.Err, "node "+why)
	}
	if len(a.silent)+len(a.failed) > 0 {
		return errSilentNodes
	}
	return nil
}

// silentList returns the nodes that did not answer, for JSON.
func (a nodeAnswers[T]) silentList() []string {
	return append([]string{}, a.silent...)
}

// resolveSession returns the session that an argument names: by its id, or by the first digits of
// its hash, 12 or more. It returns wrong usage, which lists what it could be, where the digits fit
// several.
func resolveSession(ctx context.Context, store *sessions.Store, text string) (sessions.Session, error) {
	session, err := operate.FindSession(ctx, store, text)
	var ambiguous *operate.AmbiguousError
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		return session, errNoSession
	case !errors.As(err, &ambiguous):
		return session, err
	}
	list := ""
	for _, s := range ambiguous.Sessions {
		list += fmt.Sprintf("\n  %s of user %q, created %s", identity.SessionHash(s.ID)[:len(text)+identity.TagLength], s.UserID, formatTime(s.CreatedAt.UnixMilli()))
	}
	return session, usage.Errorf("%w:%s", ambiguous, list)
}

// formatTime returns a time of Unix ms for people.
func formatTime(ms int64) string {
	if ms <= 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}

// formatAge returns how long ago a time of Unix ms is.
func formatAge(ms int64) string {
	if ms <= 0 {
		return "-"
	}
	return time.Since(time.UnixMilli(ms)).Round(time.Second).String()
}

// parseSince reads a duration before now, or a time.
func parseSince(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return time.Now().Add(-d), nil
	}
	at, err := parseTime(text)
	if err != nil {
		return at, usage.Errorf("--%s: %q is neither a duration such as 24h nor a time such as 2026-11-30T03:00:00Z", flag, text)
	}
	return at, nil
}

// parseTime reads a time: RFC 3339, or a date, which is midnight UTC.
func parseTime(text string) (time.Time, error) {
	if at, err := time.Parse(time.DateOnly, text); err == nil {
		return at, nil
	}
	return time.Parse(time.RFC3339, text)
}
