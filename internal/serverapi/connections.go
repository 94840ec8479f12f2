package serverapi

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/nodecall"
)

// ConnectionsQuery asks for connections: exactly one of userId, connection, channel and room.
type ConnectionsQuery struct {
	UserID     string `json:"userId,omitempty" validate:"omitempty,id"`
	Connection string `json:"connection,omitempty" validate:"max=64"`
	Channel    string `json:"channel,omitempty" validate:"max=128"`
	Room       string `json:"room,omitempty" validate:"max=128"`
	// Limit is how many are listed of each node; 0 means 100.
	Limit int `json:"limit,omitempty" validate:"min=0,max=1000"`
}

// Connection is one connection of a player.
type Connection struct {
	Connection  string `json:"connection"` // its id
	Node        string `json:"node"`
	UserID      string `json:"userId"`
	Username    string `json:"username"`
	CharacterID string `json:"characterId"`
	Session     string `json:"session"` // the first 12 digits of the hash of its session's id
	Address     string `json:"address"`
	Transport   string `json:"transport" validate:"oneof=polling websocket"`
	ConnectedAt int64  `json:"connectedAt"` // Unix ms
	// Rooms are the rooms that it is in: "chat:" and a channel, "user:" and its user, "game:" and a
	// name.
	Rooms       []string `json:"rooms"`
	QueuedBytes int      `json:"queuedBytes"` // that wait for the client
}

// ConnectionList is what the nodes answered.
type ConnectionList struct {
	Connections []Connection `json:"connections"` // newest first
	Total       int          `json:"total"`       // listed or not
	Silent      []string     `json:"silent"`      // nodes that did not answer: there may be more
}

// ListConnections lists the connections of a user, a channel or a room, on all nodes. Errors:
// INVALID, UNAVAILABLE.
func (s *Service) ListConnections(ctx context.Context, c Caller, in ConnectionsQuery) (ConnectionList, error) {
	given := map[string]bool{"userId": in.UserID != "", "connection": in.Connection != "", "channel": in.Channel != "", "room": in.Room != ""}
	if err := exactlyOne(given, "userId, connection, channel and room"); err != nil {
		return ConnectionList{}, err
	}
	args := nodecall.ConnectionsArgs{UserID: in.UserID, Conn: in.Connection, Most: cmp.Or(in.Limit, 100)}
	var err error
	switch {
	case in.Connection != "":
		err = checkConnection(in.Connection)
	case in.UserID == "":
		args.Room, err = resolveGroup(in.Channel, in.Room)
	}
	if err != nil {
		return ConnectionList{}, err
	}
	answers, err := askNodes[nodecall.Connections](ctx, s, c, nodecall.AskConnections, args)
	if err != nil {
		return ConnectionList{}, err
	}
	out := ConnectionList{Connections: []Connection{}, Silent: append([]string{}, answers.Unanswered...)}
	for _, n := range answers.All {
		out.Total += n.Data.Total
		for _, x := range n.Data.List {
			out.Connections = append(out.Connections, Connection{
				x.Conn, n.Node, x.UserID, x.Username, x.CharacterID, x.Session, x.Addr, x.Transport, x.OpenedAt, x.Rooms, x.QueuedBytes,
			})
		}
	}
	slices.SortStableFunc(out.Connections, func(a, b Connection) int { return cmp.Compare(b.ConnectedAt, a.ConnectedAt) })
	return out, nil
}

// DisconnectRequest names the connections to end: exactly one of userId and connection.
type DisconnectRequest struct {
	UserID     string `json:"userId,omitempty" validate:"omitempty,id"` // all devices of the user
	Connection string `json:"connection,omitempty" validate:"max=64"`
}

// MembershipRequest names connections, by exactly one of userId and connection, and what they enter
// or leave, by exactly one of channel and room.
type MembershipRequest struct {
	UserID     string `json:"userId,omitempty" validate:"omitempty,id"` // all devices of the user
	Connection string `json:"connection,omitempty" validate:"max=64"`
	// Channel is a channel of the chat. The rules of the chat hold: who is banned, or no member of the
	// guild, is refused.
	Channel string `json:"channel,omitempty" validate:"max=128"`
	// Room is a room of the game's own: its name begins with "game:".
	Room string `json:"room,omitempty" validate:"max=128"`
}

// MembershipResult says what became of the connections.
type MembershipResult struct {
	Done    int                 `json:"done"` // connections
	Refused []RefusedConnection `json:"refused"`
	Silent  []string            `json:"silent"` // nodes that did not answer: they may do it yet
}

// RefusedConnection is a connection that may not enter, and the code that says why.
type RefusedConnection struct {
	Connection string `json:"connection"`
	Code       string `json:"code"`
}

// Disconnect ends connections: their clients do not come back by themselves. Their session goes on;
// see sessions.revoke. Errors: INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) Disconnect(ctx context.Context, c Caller, in DisconnectRequest) (MembershipResult, error) {
	out, err := s.changeConnections(ctx, c, nodecall.AskDisconnect, MembershipRequest{UserID: in.UserID, Connection: in.Connection})
	if err == nil {
		s.record(ctx, c, auditlog.Act{What: "api disconnect", Target: cmp.Or(in.UserID, "connection "+in.Connection), To: strconv.Itoa(out.Done) + " connections"})
	}
	return out, err
}

// Join puts connections into a channel or a room. Errors: INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) Join(ctx context.Context, c Caller, in MembershipRequest) (MembershipResult, error) {
	return s.changeMembership(ctx, c, nodecall.AskJoin, in)
}

// Leave takes connections out of a channel or a room. Errors: INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) Leave(ctx context.Context, c Caller, in MembershipRequest) (MembershipResult, error) {
	return s.changeMembership(ctx, c, nodecall.AskLeave, in)
}

// changeMembership checks what is entered or left.
func (s *Service) changeMembership(ctx context.Context, c Caller, what string, in MembershipRequest) (MembershipResult, error) {
	if err := exactlyOne(map[string]bool{"channel": in.Channel != "", "room": in.Room != ""}, "channel and room"); err != nil {
		return MembershipResult{}, err
	}
	if _, err := resolveGroup(in.Channel, in.Room); err != nil {
		return MembershipResult{}, err
	}
	return s.changeConnections(ctx, c, what, in)
}

// changeConnections asks all nodes to do something to the connections that in names.
func (s *Service) changeConnections(ctx context.Context, c Caller, what string, in MembershipRequest) (out MembershipResult, err error) {
	if err := exactlyOne(map[string]bool{"userId": in.UserID != "", "connection": in.Connection != ""}, "userId and connection"); err != nil {
		return out, err
	}
	if in.Connection != "" {
		if err := checkConnection(in.Connection); err != nil {
			return out, err
		}
	}
	answers, err := askNodes[nodecall.Membership](ctx, s, c, what, nodecall.MembershipArgs{
		UserID: in.UserID, Conn: in.Connection, Channel: in.Channel, Room: in.Room,
	})
	if err != nil {
		return out, err
	}
	out = MembershipResult{Refused: []RefusedConnection{}, Silent: append([]string{}, answers.Unanswered...)}
	for _, n := range answers.All {
		out.Done += n.Data.Done
		for _, r := range n.Data.Refused {
			out.Refused = append(out.Refused, RefusedConnection{r.Conn, r.Code})
		}
	}
	if out.Done == 0 && len(out.Refused) == 0 && len(out.Silent) == 0 {
		return out, fault.ErrNotFound.With("reason", "no such connection")
	}
	return out, nil
}
