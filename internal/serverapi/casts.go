package serverapi

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/redisx"
)

const (
	// RoomPrefix begins the name of every room that the game may choose.
	RoomPrefix = "game:"
	// MaxDepth is how deep the payload of a cast may be nested.
	MaxDepth = 32

	maxData = 256 << 10 // bytes of the payload of a cast

	// findSilentAfter is when a cast that has no answer from all nodes yet asks them which are silent.
	// Each of the two questions may take a second, and both must be over before the program is
	// answered, so the second one begins soon.
	findSilentAfter = 250 * time.Millisecond
)

// CastRequest is an event to send, and to whom: exactly one of all, channel, userId, connection and
// room.
type CastRequest struct {
	// All sends it to every connection. Such a cast is not recoverable.
	All bool `json:"all,omitempty"`
	// Channel is a channel of the chat, such as "guild:7".
	Channel string `json:"channel,omitempty" validate:"max=128"`
	// UserID sends it to every device of a user.
	UserID string `json:"userId,omitempty" validate:"omitempty,id"`
	// Connection is the id of one connection.
	Connection string `json:"connection,omitempty" validate:"max=64"`
	// Room is a room of the game's own: its name begins with "game:".
	Room string `json:"room,omitempty" validate:"max=128"`
	// Event is its name: not one of the gateway's own, and not one that Socket.IO reserves.
	Event string `json:"event" validate:"required,max=128"`
	// Data is its only argument, any JSON up to 256 KiB, nested at most 32 deep; absent is null.
	Data jsontext.Value `json:"data,omitempty"`
	// Volatile leaves out clients whose connection is busy, and is not recoverable.
	Volatile bool `json:"volatile,omitempty"`
}

// CastResult says whom a cast reached.
type CastResult struct {
	Reached int `json:"reached"` // connections, on all nodes that answered
	Missing int `json:"missing"` // nodes that did not say within a second how many they reached
	// Silent are the names of the nodes that do not answer, 100 at most; only where nodes are
	// missing.
	Silent []string `json:"silent,omitempty"`
	// Recoverable says that a client whose connection broke gets it when it comes back.
	Recoverable bool `json:"recoverable"`
	// Local says that Redis did not confirm it: the connections of this node have it, and the others
	// get it when Redis is back, or not at all where it is not recoverable.
	Local bool `json:"local"`
}

// Cast sends an event. It answers when all nodes have said how many connections they reached.
// Nobody connected is no error: reached is 0. Errors: INVALID, FORBIDDEN, PAYLOAD_TOO_LARGE,
// TIMEOUT, UNAVAILABLE.
func (s *Service) Cast(ctx context.Context, c Caller, in CastRequest) (CastResult, error) {
	finish, err := s.startCast(c, in)
	if err != nil {
		return CastResult{}, err
	}
	return finish(ctx)
}

// startCast casts, and returns a function that waits for the answer.
func (s *Service) startCast(c Caller, in CastRequest) (finish func(ctx context.Context) (CastResult, error), err error) {
	push, err := in.Resolve(s.cfg.IsOwnEvent)
	if err != nil {
		return nil, err
	}
	wait, err := s.cfg.Gateway.StartPush(push)
	if err != nil { // nobody receives it
		return nil, fault.Unavailable("server", redisx.RetryAfter, err)
	}
	return func(ctx context.Context) (CastResult, error) {
		silent := make(chan []string, 1)
		asking := time.AfterFunc(findSilentAfter, func() { silent <- s.findSilentNodes(ctx, c) })
		reach, err := wait(ctx)
		isAsking := !asking.Stop()
		switch {
		case errors.Is(err, castlog.ErrFull):
			return CastResult{}, fault.Unavailable("server", redisx.RetryAfter, err)
		case err != nil: // it may be received
			return CastResult{}, fault.ErrTimeout.Because(err)
		}
		out := CastResult{Reached: reach.Reached, Missing: reach.Missing, Recoverable: reach.IsLogged, Local: reach.IsLocal}
		switch {
		case out.Missing == 0 || out.Local:
		case isAsking:
			select {
			case out.Silent = <-silent:
			case <-ctx.Done(): // the answer says how many are missing, and not which
			}
		default:
			out.Silent = s.findSilentNodes(ctx, c)
		}
		return out, nil
	}, nil
}

// Resolve returns the cast, once its target, its event and its payload are found to be what a
// program may cast. isOwnEvent reports whether an event is the gateway's. Errors: INVALID,
// FORBIDDEN, PAYLOAD_TOO_LARGE.
func (in *CastRequest) Resolve(isOwnEvent func(name string) bool) (p gateway.Push, err error) {
	room, err := in.resolveRoom()
	if err != nil {
		return p, err
	}
	if err := checkEvent(in.Event, isOwnEvent); err != nil {
		return p, err
	}
	if err := checkData(in.Data); err != nil {
		return p, err
	}
	if len(in.Data) == 0 {
		in.Data = jsontext.Value("null")
	}
	return gateway.Push{Room: room, Event: in.Event, JSON: in.Data, IsVolatile: in.Volatile}, nil
}

// IsGameRoom reports whether a room is one of the game's own.
func IsGameRoom(room string) bool { return roomName.MatchString(room) }

var (
	errRoom       = fault.Invalid("room", `"game:" and 1 to 64 letters, digits, "_", "-" and ":"`)
	errConnection = fault.Invalid("connection", "the id of a connection")
	errChannel    = fault.Invalid("channel", "the name of a channel")
	errEvent      = fault.Invalid("event", "1 to 128 bytes of printable UTF-8, and not a name that Socket.IO reserves")
	errOwnEvent   = fault.ErrForbidden.With("field", "event").With("reason", "an event of the gateway's own")
)

var (
	roomName     = regexp.MustCompile(`^game:[A-Za-z0-9_:-]{1,64}$`)
	connectionID = regexp.MustCompile(`^[A-Za-z0-9_-]{20}$`)
)

// resolveRoom returns the room that a cast goes to; "" is everybody.
func (in *CastRequest) resolveRoom() (string, error) {
	given := map[string]bool{"all": in.All, "channel": in.Channel != "", "userId": in.UserID != "", "connection": in.Connection != "", "room": in.Room != ""}
	if err := exactlyOne(given, "all, channel, userId, connection and room"); err != nil {
		return "", err
	}
	switch {
	case in.UserID != "":
		return gateway.UserRoom(in.UserID), nil
	case in.Connection != "":
		return in.Connection, checkConnection(in.Connection)
	case in.All:
		return "", nil
	}
	return resolveGroup(in.Channel, in.Room)
}

// resolveGroup returns the room of a channel, or a room of the game's own, whichever is given.
func resolveGroup(channel, room string) (string, error) {
	switch {
	case channel != "" && !chat.ValidChannel(channel):
		return "", errChannel
	case channel != "":
		return chat.RoomPrefix + channel, nil
	case !roomName.MatchString(room):
		return "", errRoom
	}
	return room, nil
}

// checkConnection refuses what is no id of a connection: it could be the name of a room.
func checkConnection(id string) error {
	if !connectionID.MatchString(id) {
		return errConnection
	}
	return nil
}

// reservedEvents are those that Socket.IO's clients refuse or take for their own.
var reservedEvents = map[string]bool{
	"connect": true, "connect_error": true, "disconnect": true, "disconnecting": true, "newListener": true, "removeListener": true,
}

// checkEvent refuses the names of events that a program may not cast.
func checkEvent(name string, isOwnEvent func(name string) bool) error {
	isUnprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	switch {
	case name == "" || reservedEvents[name] || !utf8.ValidString(name) || strings.ContainsFunc(name, isUnprintable):
		return errEvent
	case isOwnEvent(name):
		return errOwnEvent
	}
	return nil
}

// checkData refuses a payload that is too large, or nested too deep.
func checkData(data jsontext.Value) error {
	if len(data) > maxData {
		return fault.ErrTooLarge.With("field", "data").With("limit", maxData)
	}
	if IsTooDeep(data) {
		return fault.Invalid("data", "nested at most "+strconv.Itoa(MaxDepth)+" deep")
	}
	return nil
}

// IsTooDeep reports whether JSON is nested deeper than MaxDepth: some clients read it by recursion.
func IsTooDeep(raw []byte) bool {
	depth, isText := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case isText && c == '\\':
			i++
		case c == '"':
			isText = !isText
		case isText:
		case c == '[' || c == '{':
			if depth++; depth > MaxDepth {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}
