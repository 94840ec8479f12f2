package server

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/nodecall"
	"github.com/aeturnis/realtime/internal/version"
	"github.com/aeturnis/realtime/throttle"
)

// This file answers the questions of operators' commands (internal/nodecall). What a node answers
// is gathered when it is asked.

// maxListed is how many entries of one kind a node lists in an answer.
const maxListed = 1000

// maxListedBytes is about how long a list of connections becomes: an answer that is too long is
// none.
const maxListedBytes = 2 << 20

// answerOperators answers until ctx ends.
func (n *node) answerOperators(ctx context.Context) error {
	return nodecall.NewServer(n.redis.client, n.name, map[string]nodecall.Handler{
		nodecall.AskStatus:      n.answerStatus,
		nodecall.AskConnections: n.answerConnections,
		nodecall.AskRefusals:    n.answerRefusals,
		nodecall.AskLimits:      n.answerLimits,
		nodecall.AskDrain:       n.answerDrain,
		nodecall.AskUndrain:     n.answerUndrain,
		nodecall.TellAct:        n.logAct,
		nodecall.AskWatch:       n.answerWatch,
		nodecall.AskDisconnect:  n.answerDisconnect,
		nodecall.AskJoin:        n.answerJoin,
		nodecall.AskLeave:       n.answerLeave,
	}, func(err error) {
		n.log.Warn("operators' commands are not heard", zap.Error(err))
	}).Run(ctx)
}

func (n *node) answerStatus(context.Context, string, []byte) (any, error) {
	cfg := n.currentConfig()
	return nodecall.Status{
		Version: version.Details(), StartedAt: n.startedAt.UnixMilli(),
		Connections: n.gateway.Connections(), QueuedBytes: n.gateway.QueuedBytes(),
		Redis: n.redis.monitor.State().String(), LimitsLocal: n.redis.limiter.Degraded(),
		Draining: n.gateway.Draining(), Drain: n.drains.last(),
		Settings: cfg.differingSettings(), Hash: cfg.settingsHash(),
	}, nil
}

func (n *node) answerConnections(_ context.Context, _ string, raw []byte) (any, error) {
	var args nodecall.ConnectionsArgs
	if err := readArgs(raw, &args); err != nil {
		return nil, err
	}
	list, total := n.gateway.Inspect(gateway.ConnectionQuery{
		UserID: args.UserID, Addr: args.Addr, Session: args.Session, Conn: args.Conn, Room: args.Room, By: args.By, Most: max(0, min(args.Most, maxListed)),
	})
	out := nodecall.Connections{Total: total, List: []nodecall.Connection{}}
	size := 0
	for _, c := range list {
		size += 512
		for _, room := range c.Rooms {
			size += len(room) + 3
		}
		if size > maxListedBytes { // the total says how many there are
			break
		}
		out.List = append(out.List, connectionView(c))
	}
	return out, nil
}

func (n *node) answerRefusals(_ context.Context, _ string, raw []byte) (any, error) {
	var args nodecall.RefusalsArgs
	if err := readArgs(raw, &args); err != nil {
		return nil, err
	}
	out := []nodecall.Refusal{}
	for _, r := range n.gateway.Refusals(args.UserID, max(0, min(args.Most, maxListed))) {
		out = append(out, nodecall.Refusal{
			At: r.At.UnixMilli(), UserID: r.UserID, Session: r.Session, Conn: r.Conn, Addr: r.Addr, Event: r.Event, Code: r.Code,
			Policy: r.Policy, Field: r.Field, Reason: r.Reason,
		})
	}
	return out, nil
}

func (n *node) answerLimits(_ context.Context, _ string, raw []byte) (any, error) {
	var args nodecall.LimitsArgs
	if err := readArgs(raw, &args); err != nil {
		return nil, err
	}
	most := max(0, min(args.Most, maxListed))
	out := nodecall.Limits{Spenders: []nodecall.Spender{}, Denied: []nodecall.Denied{}}
	for _, c := range n.redis.limiter.Counts() {
		out.Policies = append(out.Policies, nodecall.PolicyCount{Policy: c.Policy, Scope: string(c.Scope), Allowed: c.Allowed, Refused: c.Refused})
	}
	for _, s := range n.gateway.Spenders(most) {
		out.Spenders = append(out.Spenders, nodecall.Spender{Policy: s.Policy, UserID: s.UserID, Times: s.Times})
	}
	scopes := map[string]string{}
	for _, c := range out.Policies {
		scopes[c.Policy] = c.Scope
	}
	for _, d := range n.redis.limiter.Denied(most) {
		subject := d.Subject
		if scopes[d.Policy] == string(throttle.BySession) { // its subject is a secret
			subject = identity.SessionTag(subject)
		}
		out.Denied = append(out.Denied, nodecall.Denied{Policy: d.Policy, Subject: subject, ForMs: d.For.Milliseconds()})
	}
	return out, nil
}

// maxLoggedAct is how many bytes of a text of an act are logged.
const maxLoggedAct = 200

// logAct logs what an operator did: by whom and from which host. The audit log has it whole.
func (n *node) logAct(_ context.Context, by string, raw []byte) (any, error) {
	var act nodecall.Act
	if err := readArgs(raw, &act); err != nil {
		return nil, err
	}
	fields := []zap.Field{zap.String("by", cutText(by)), zap.String("what", cutText(act.What)), zap.String("target", cutText(act.Target))}
	if act.From != "" {
		fields = append(fields, zap.String("from", cutText(act.From)))
	}
	if act.To != "" {
		fields = append(fields, zap.String("to", cutText(act.To)))
	}
	if act.Why != "" {
		fields = append(fields, zap.String("why", cutText(act.Why)))
	}
	n.log.Info("operator acted", fields...)
	return struct{}{}, nil
}

// cutText returns at most maxLoggedAct bytes of a text that another program sent, with ? for what
// could not be printed.
func cutText(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(text[:min(len(text), maxLoggedAct)], "?"))
}

// readArgs reads the arguments of a question. Unknown ones are errors, so that a node of an earlier
// version does not answer more than was asked for.
func readArgs(raw []byte, args any) error {
	if err := json.Unmarshal(raw, args, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("the question could not be read: %w", err)
	}
	return nil
}
