package gateway

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

// ownCasts returns the events that the gateway itself sends.
func ownCasts() []event.Cast {
	return []event.Cast{
		event.Sends[Welcome]("session", "Who you are: right after connect, and again when your roles have changed."),
		event.Sends[Limits]("limits", "How much you may do: right after session, and again when that changes. Where remaining is given, little is left of that policy.").Fleeting(),
		event.Sends[Expiring]("session:expiring", "The session ends soon. Any activity extends it, until its absolute lifetime is over.").Fleeting(),
		event.Sends[Ended]("session:revoked", "The session is over. The disconnect follows, and only a new login helps.").Fleeting(),
		event.Sends[Closing]("gateway:closing", "This connection is about to be closed; the client comes back by itself.").Fleeting(),
		event.Sends[map[string]Health]("gateway:status", "Which features work, by name, whenever that changes. With moved (true), another Redis took the place of the one before: what was acknowledged in the last seconds may be gone. With missed (true), you may have missed casts; read again what you need.").Fleeting(),
		event.Sends[fault.Fault]("error", "A refusal of an event that was sent without an acknowledgement, or of a frame.").Fleeting(),
	}
}

// OwnEvents returns the names of the events that the gateway itself serves and sends.
func OwnEvents() (names []string) {
	for _, c := range ownCasts() {
		names = append(names, c.Name)
	}
	for _, r := range (&Gateway{}).sessionRoutes() {
		names = append(names, r.Name)
	}
	return names
}

// Welcome says who the player is.
type Welcome struct {
	SessionID   string   `json:"sessionId"`
	UserID      string   `json:"userId"`
	Username    string   `json:"username"`
	CharacterID string   `json:"characterId"` // "" while none is chosen
	Roles       []string `json:"roles"`
	TTLMs       int64    `json:"ttlMs"`      // how long the session lasts from the last activity
	ExpiresAt   int64    `json:"expiresAt"`  // Unix ms
	ServerTime  int64    `json:"serverTime"` // Unix ms
	Node        string   `json:"node"`       // the gateway's process
	// Recovered says that the connection goes on where an earlier one ended: what was missed follows,
	// and the rooms are joined.
	Recovered bool `json:"recovered"`
	// RoundTripUs is how long the last ping of this connection took, there and back; absent before
	// the first one.
	RoundTripUs int64 `json:"roundTripUs,omitzero"`
	// Channels are those that the game's own server has the connection join; chat:left follows for
	// one that it may not be in. Absent where there are none.
	Channels []string `json:"channels,omitempty"`
	// Rooms are those that the game's own server has the connection join. Absent where there are none.
	Rooms []string `json:"rooms,omitempty"`
	// Data is what the game's own server says to this player when it connects. Absent where it says
	// nothing.
	Data jsontext.Value `json:"data,omitzero"`
}

// Limits says how much a player may do.
type Limits struct {
	Policies []Policy `json:"policies"`
}

// Policy is one limit: a number of events in any window of a given length.
type Policy struct {
	Name     string `json:"name"`
	Limit    int    `json:"limit"`
	WindowMs int64  `json:"windowMs"`
	Scope    string `json:"scope" validate:"oneof=user session ip connection key global"`
	// Cost is how much of the limit one event takes, where that is not 1.
	Cost int `json:"cost,omitzero"`
	// Remaining is how much of the limit is left. It is sent when that is less than a fifth.
	Remaining *int `json:"remaining,omitzero"`
}

// Expiring says that a session is about to run out.
type Expiring struct {
	ExpiresInMs int64 `json:"expiresInMs"`
}

// Ended says why a session is over.
type Ended struct {
	Code   string `json:"code" validate:"oneof=SESSION_REVOKED SESSION_EXPIRED LOGGED_OUT REPLACED BANNED"`
	Reason string `json:"reason"`
}

// Closing says why a connection will be closed.
type Closing struct {
	Code          string `json:"code" validate:"oneof=SLOW_CONSUMER DRAINING SHUTTING_DOWN"`
	ReconnectInMs int64  `json:"reconnectInMs"` // when to come back: different for each client
}

// Health says whether a feature works.
type Health string

// The values of Health.
const (
	Healthy Health = "ok"
	Local   Health = "local"  // works for this node's players only
	Stale   Health = "stale"  // what is shown may be old
	Paused  Health = "paused" // refused with UNAVAILABLE
)
