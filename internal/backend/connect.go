package backend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/serverapi"
)

const (
	connectEvent = "connect" // of the request

	maxRoles    = 64
	maxRole     = 64 // bytes of its name
	maxGroups   = 32 // channels and rooms that are joined
	maxHookData = 16 << 10
)

// A rawAdmission is the answer of a backend that judges who connects.
type rawAdmission struct {
	Data     jsontext.Value `json:"data"`
	Error    jsontext.Value `json:"error"`
	Roles    []string       `json:"roles"`
	Channels []string       `json:"channels"`
	Rooms    []string       `json:"rooms"`
}

// Judges reports whether a backend judges who connects.
func (s *Service) Judges() bool { return s.judge != nil }

// ConnectCodes returns the codes with which clients are refused, and their messages.
func (s *Service) ConnectCodes() map[string]string {
	if s.judge == nil || s.judge.schema.Connect == nil {
		return nil
	}
	return s.judge.schema.Connect.Errors
}

// JudgeConnect asks the backend that judges who connects about a player whose session was found. It
// makes Service a gateway.ConnectJudge. The error is a fault that refuses the client for good; any
// other means that the client can not be judged now.
func (s *Service) JudgeConnect(ctx context.Context, p event.Player, isReturning bool) (a gateway.Admission, err error) {
	b := s.judge
	if b == nil {
		return a, nil
	}
	deadline := b.deadlineOf(ctx)
	body := appendRequest(make([]byte, 0, 512), request{
		event: connectEvent, payload: []byte("{}"), player: &p, deadline: deadline, node: s.opts.Node, returning: isReturning,
	})
	err = b.performCall(ctx, b.judging, connectEvent, body, deadline, func(raw []byte) (err error) {
		a, err = b.parseAdmission(raw)
		return err
	})
	switch f := fault.Of(err); {
	case err == nil:
		return a, nil
	case !slices.Contains(ownCodes, f.Code):
		return gateway.Admission{}, f
	case b.cfg.Connect == ConnectAdmit && !errors.Is(err, errBusy): // many clients at once do not open the door
		return gateway.Admission{}, nil
	default: // not a fault: the client comes back by itself
		return gateway.Admission{}, fmt.Errorf("backend %s does not judge: %s", b.cfg.Name, err.Error())
	}
}

// parseAdmission reads the whole of an answer to connect.
func (b *backend) parseAdmission(raw []byte) (a gateway.Admission, err error) {
	var r rawAdmission
	if err := readStrictly(raw, &r); err != nil {
		return a, b.answerFault(describeWrongJSON(err), errors.New(quoteBeginning(raw)))
	}
	if len(r.Error) > 0 && !isAbsentOrNull(r.Error) {
		if !isAbsentOrNull(r.Data) || len(r.Roles)+len(r.Channels)+len(r.Rooms) > 0 {
			return a, b.answerFault("an error stands alone", nil)
		}
		declared, anyCode := map[string]string(nil), b.schema.Connect == nil
		if !anyCode {
			declared = b.schema.Connect.Errors
		}
		return a, b.readRefusal(r.Error, declared, anyCode)
	}
	if len(r.Data) > maxHookData {
		return a, b.answerFault(fmt.Sprintf("data: more than %d bytes", maxHookData), nil)
	}
	if err := checkDepth(r.Data); err != nil {
		return a, b.answerFault("data: "+err.Error(), nil)
	}
	if len(r.Roles) > maxRoles || len(r.Channels)+len(r.Rooms) > maxGroups {
		return a, b.answerFault(fmt.Sprintf("more than %d roles, or %d channels and rooms", maxRoles, maxGroups), nil)
	}
	for i, role := range r.Roles {
		if role == "" || len(role) > maxRole || strings.ContainsFunc(role, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
			return a, b.answerFault(fmt.Sprintf("roles[%d]: expected 1 to %d bytes without spaces", i, maxRole), nil)
		}
	}
	for i, channel := range r.Channels {
		if !chat.ValidChannel(channel) {
			return a, b.answerFault(fmt.Sprintf("channels[%d]: expected the name of a channel", i), nil)
		}
	}
	for i, room := range r.Rooms {
		if !serverapi.IsGameRoom(room) {
			return a, b.answerFault(fmt.Sprintf("rooms[%d]: expected a room of the game's own, game:…", i), nil)
		}
	}
	a = gateway.Admission{Roles: r.Roles, Channels: r.Channels, Rooms: r.Rooms}
	if !isAbsentOrNull(r.Data) {
		a.Data = r.Data
	}
	return a, nil
}
