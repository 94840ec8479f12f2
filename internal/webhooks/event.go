package webhooks

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/internal/identity"
)

// An Event is what the receiver gets: this, as JSON.
type Event struct {
	ID      string         `json:"id"` // the same each time that it is delivered
	Type    string         `json:"type"`
	At      int64          `json:"at"`      // when it was written, Unix ms, Redis's clock
	Players []Party        `json:"players"` // whose earlier events were delivered or parked before
	Data    jsontext.Value `json:"data"`
}

// A waitingEvent is an event in the stream.
type waitingEvent struct {
	Event
	place string
}

// parseWaiting reads an entry of the stream. One that another program wrote badly is delivered as
// far as it can be read.
func parseWaiting(place string, fields map[string]string) waitingEvent {
	e := waitingEvent{place: place, Event: Event{ID: cmp.Or(fields["id"], place), Type: fields["type"], Data: jsontext.Value(fields["data"])}}
	ms, _, _ := strings.Cut(place, "-")
	e.At, _ = strconv.ParseInt(ms, 10, 64)
	if !e.Data.IsValid() {
		e.Data, _ = jsontext.AppendQuote(nil, strings.ToValidUTF8(fields["data"], "\uFFFD"))
	}
	if at, err := strconv.ParseInt(fields["at"], 10, 64); err == nil { // it was parked, and is as it was delivered
		e.At = at
		if json.Unmarshal([]byte(fields["players"]), &e.Players) != nil {
			e.Players = nil
		}
	} else {
		e.readData()
	}
	if e.Players == nil {
		e.Players = []Party{}
	}
	return e
}

// eventData is what the data of events may say about players.
type eventData struct {
	Party
	Moves []struct {
		FromUser string `json:"fromUser"`
		From     string `json:"from"`
		ToUser   string `json:"toUser"`
		To       string `json:"to"`
	} `json:"moves"`
	Players []Party `json:"players"`
}

// endedSession is the data of SessionEnded.
type endedSession struct {
	UserID  string `json:"userId,omitzero"`
	Session string `json:"session"` // its hash, because the id is a secret
	Code    string `json:"code"`
	Reason  string `json:"reason"`
}

// readData finds the players in the data, and replaces the id of a session by its hash.
func (e *waitingEvent) readData() {
	if e.Type == SessionEnded {
		var revoked struct {
			endedSession
			SessionID string `json:"sessionId"`
		}
		_ = json.Unmarshal(e.Data, &revoked, jsontext.AllowInvalidUTF8(true))
		ended := revoked.endedSession
		ended.Session = identity.SessionHash(revoked.SessionID)
		e.ID = "session-" + ended.Session
		e.Data, _ = json.Marshal(ended, jsontext.AllowInvalidUTF8(true))
	}
	var found eventData
	_ = json.Unmarshal(e.Data, &found, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	all := found.Players
	for _, m := range found.Moves {
		all = append(all, Party{m.FromUser, m.From}, Party{m.ToUser, m.To})
	}
	all = append(all, found.Party)
	seen := map[Party]bool{{}: true}
	for _, p := range all {
		if !seen[p] {
			seen[p] = true
			e.Players = append(e.Players, p)
		}
	}
}

// orderKeys are what an event must not overtake another one of: its users and its characters.
func (e *Event) orderKeys() []string {
	var all []string
	seen := map[string]bool{}
	add := func(prefix, id string) {
		if key := prefix + id; id != "" && !seen[key] {
			seen[key] = true
			all = append(all, key)
		}
	}
	for _, p := range e.Players {
		add("u", p.UserID)
		add("c", p.CharacterID)
	}
	return all
}

// encodeBody is what is posted.
func (e *Event) encodeBody() []byte {
	b, err := json.Marshal(e, jsontext.AllowInvalidUTF8(true))
	if err != nil { // its data is not JSON after all
		e.Data = jsontext.Value("null")
		b, _ = json.Marshal(e, jsontext.AllowInvalidUTF8(true))
	}
	return b
}
