package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/nodecall"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/throttle"
	"github.com/aeturnis/realtime/trade"
)

// userShow is the command that tells everything about one user.
type userShow struct {
	cli.RedisFlags `embed:""`
	User           string `arg:"" help:"The user's id."`
	Reveal         bool   `help:"Show whole session ids: whoever has one is that user."`
	JSON           bool   `help:"Print JSON."`
}

const (
	maxUserRefusals    = 20
	maxUserConnections = 200
)

// A UserReport is what `gateway user show` prints. Times are Unix ms.
type UserReport struct {
	UserID      string           `json:"userId"`
	Ban         *BanView         `json:"ban,omitzero"`
	Sessions    []SessionView    `json:"sessions"`
	Connections []ConnectionView `json:"connections"`
	Limits      []WindowView     `json:"limits"`
	Sanctions   []chat.Sanction  `json:"sanctions"`
	Refusals    []RefusalView    `json:"refusals"` // newest first
	Trades      []trade.Trade    `json:"trades"`   // open ones
	Fights      []combat.State   `json:"fights"`   // running ones
	Silent      []string         `json:"silent"`   // nodes that did not answer within a second
}

// A BanView is a ban.
type BanView struct {
	Reason string `json:"reason"`
	Until  int64  `json:"until,omitzero"`
}

// A ConnectionView is a connection, with its node.
type ConnectionView struct {
	Node                string `json:"node"`
	nodecall.Connection `json:",inline"`
}

// A RefusalView is a refusal, with the node that refused.
type RefusalView struct {
	Node             string `json:"node"`
	nodecall.Refusal `json:",inline"`
}

// Run exits 1 when a node did not answer.
func (c userShow) Run(ctx context.Context, s cli.Streams) error {
	if err := checkID("user", c.User); err != nil {
		return err
	}
	rdb, err := c.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	report := UserReport{UserID: c.User, Connections: []ConnectionView{}, Refusals: []RefusalView{}, Sessions: []SessionView{}, Limits: []WindowView{}, Trades: []trade.Trade{}}
	connections, err := askNodes[nodecall.Connections](ctx, rdb, s, nodecall.Request{
		What: nodecall.AskConnections, Args: nodecall.ConnectionsArgs{UserID: c.User, Most: maxUserConnections},
	})
	if err != nil {
		return err
	}
	for _, n := range connections.all {
		for _, x := range n.data.List {
			report.Connections = append(report.Connections, ConnectionView{n.node, x})
		}
	}
	refusals, err := askNodes[[]nodecall.Refusal](ctx, rdb, s, nodecall.Request{
		What: nodecall.AskRefusals, Args: nodecall.RefusalsArgs{UserID: c.User, Most: maxUserRefusals},
	})
	if err != nil {
		return err
	}
	for _, n := range refusals.all {
		for _, x := range n.data {
			report.Refusals = append(report.Refusals, RefusalView{n.node, x})
		}
	}
	slices.SortStableFunc(report.Refusals, func(a, b RefusalView) int { return int(max(-1, min(1, b.At-a.At))) })
	report.Refusals = report.Refusals[:min(len(report.Refusals), maxUserRefusals)]
	for _, name := range append(connections.silent, refusals.silent...) {
		if !slices.Contains(report.Silent, name) {
			report.Silent = append(report.Silent, name)
		}
	}
	if err := c.readStored(ctx, rdb, &report); err != nil {
		return err
	}
	if c.JSON {
		report.Silent = append([]string{}, report.Silent...)
		err = printJSON(s.Out, report)
	} else {
		err = report.print(s.Out)
	}
	connections.silent = report.Silent
	return errors.Join(err, connections.complain(s))
}

// readStored adds what Redis has.
func (c userShow) readStored(ctx context.Context, rdb redis.UniversalClient, report *UserReport) error {
	store := sessions.New(rdb, sessions.Config{})
	switch ban, err := store.FindBan(ctx, c.User); {
	case err == nil:
		report.Ban = &BanView{Reason: ban.Reason}
		if !ban.Until.IsZero() {
			report.Ban.Until = ban.Until.UnixMilli()
		}
	case !errors.Is(err, sessions.ErrNotFound):
		return err
	}
	all, err := store.List(ctx, c.User)
	if err != nil {
		return err
	}
	roles, characters := []string{}, map[string]bool{c.User: true} // with --dev a user is its own character
	for _, x := range all {
		report.Sessions = append(report.Sessions, sessionViewOf(x, c.Reveal))
		roles = append(roles, x.Roles...)
		characters[x.CharacterID] = true
	}
	for _, x := range report.Connections {
		characters[x.CharacterID] = true
	}
	if last, err := rdb.Get(ctx, keys.LastCharacter(c.User)).Result(); err == nil {
		characters[last] = true
	}
	if report.Sanctions, err = chat.SanctionsOf(ctx, rdb, c.User); err != nil {
		return err
	}
	trades := trade.New(rdb, nil, nil, nil, trade.Config{})
	for id := range characters {
		if !identity.IsID(id) {
			continue
		}
		open, err := trades.OpenTradesOf(ctx, id)
		if err != nil {
			return err
		}
		report.Trades = append(report.Trades, open...)
	}
	fights, err := combat.New(rdb, nil, combat.Config{}).List(ctx, event.Player{UserID: c.User}, event.None{})
	if err != nil {
		return err
	}
	report.Fights = append([]combat.State{}, fights.Combats...)
	return c.readLimits(ctx, rdb, report, all, roles)
}

// readLimits adds what is left of each limit: of the user's, and of those of its sessions,
// addresses and connections from which something was spent.
func (c userShow) readLimits(ctx context.Context, rdb redis.UniversalClient, report *UserReport, all []sessions.Session, roles []string) error {
	limits, err := limiterOf(ctx, rdb, "")
	if err != nil {
		return err
	}
	defer limits.Close()
	subjects := map[throttle.Scope][]string{throttle.ByUser: {c.User}}
	add := func(scope throttle.Scope, id string) {
		if id != "" && !slices.Contains(subjects[scope], id) && len(subjects[scope]) < 10 {
			subjects[scope] = append(subjects[scope], id)
		}
	}
	for _, x := range all {
		add(throttle.BySession, x.ID)
	}
	for _, x := range report.Connections {
		add(throttle.ByIP, x.Addr)
		add(throttle.ByConnection, x.Conn)
	}
	for _, p := range limits.All() {
		for _, id := range subjects[p.Scope] {
			subject := throttle.SubjectOf(p.Scope, id)
			subject.Roles = roles
			d, err := limits.Peek(ctx, p.Name, subject)
			switch {
			case errors.Is(err, throttle.ErrOff):
				continue
			case err != nil:
				return err
			case p.Scope != throttle.ByUser && d.Remaining == d.Limit && d.Allowed:
				continue // nothing was spent
			}
			if p.Scope == throttle.BySession && !c.Reveal {
				id = identity.SessionTag(id)
			}
			report.Limits = append(report.Limits, windowViewOf(id, d))
		}
	}
	return nil
}

// print prints the report for people.
func (r *UserReport) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	section := func(name string, n int, header string) {
		_ = t.Flush()
		if n == 0 {
			fmt.Fprintf(w, "%s: none\n", name)
			return
		}
		fmt.Fprintf(w, "%s:\n", name)
		fmt.Fprintln(t, header)
	}
	writeTableRow(w, "user "+r.UserID)
	if r.Ban != nil {
		writeTableRow(w, "BANNED until "+formatTime(r.Ban.Until)+": "+r.Ban.Reason)
	}
	section("sessions", len(r.Sessions), sessionHeader)
	for _, x := range r.Sessions {
		writeSessionRow(t, x)
	}
	section("connections", len(r.Connections), connectionHeader)
	for _, x := range r.Connections {
		writeConnectionRow(t, x)
	}
	section("refusals, newest first", len(r.Refusals), "  AT\tNODE\tEVENT\tCODE\tWHY\tCONNECTION\tADDRESS")
	for _, x := range r.Refusals {
		name, why := x.Event, strings.TrimSpace(x.Policy+" "+x.Field+" "+x.Reason)
		if name == "" {
			name = "(connection)"
		}
		writeTableRow(t, "  "+formatTime(x.At), x.Node, name, x.Code, why, x.Conn, x.Addr)
	}
	section("limits", len(r.Limits), "  POLICY\tSUBJECT\tLEFT\tBLOCKED UNTIL")
	for _, x := range r.Limits {
		writeTableRow(t, "  "+x.Policy, x.Subject, fmt.Sprintf("%d of %d", x.Remaining, x.Limit), formatTime(x.BlockedUntil))
	}
	section("sanctions in the chat", len(r.Sanctions), "  KIND\tCHANNEL\tUNTIL\tBY\tREASON")
	for _, x := range r.Sanctions {
		channel := x.Channel
		if channel == "" {
			channel = "everywhere"
		}
		writeTableRow(t, "  "+x.Kind, channel, formatTime(x.Until), x.By, x.Reason)
	}
	section("open trades", len(r.Trades), "  TRADE\tSTATUS\tSINCE\tFROM\tTO\tGIVES\tGETS")
	for _, x := range r.Trades {
		a, b := x.Parties[0], x.Parties[1]
		writeTableRow(t, "  "+x.TradeID, string(x.Status), formatTime(x.CreatedAt), a.CharacterID, b.CharacterID, goodsText(a.Offer), goodsText(b.Offer))
	}
	section("running fights", len(r.Fights), "  FIGHT\tTURN\tSINCE\tFIGHTERS")
	for _, x := range r.Fights {
		var fighters []string
		for _, p := range x.Participants {
			fighters = append(fighters, fmt.Sprintf("%s (%d HP)", p.ID, p.HP))
		}
		writeTableRow(t, "  "+x.CombatID, strconv.FormatInt(x.Turn, 10), formatTime(x.StartedAt), strings.Join(fighters, ", "))
	}
	return t.Flush()
}
