package webhooks

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

//go:embed replay.lua
var replayLua string

var replayScript = redisx.NewScript(replayLua)

// A ParkedEvent is an event that was not delivered.
type ParkedEvent struct {
	Place     string `json:"place"` // among the parked ones
	ID        string `json:"id"`
	Type      string `json:"type"`
	At        int64  `json:"at"`       // Unix ms
	ParkedAt  int64  `json:"parkedAt"` // Unix ms
	Tries     int    `json:"tries"`
	LastError string `json:"lastError"`
	// Players and Data are what the receiver did not take.
	Players json.RawMessage `json:"players"`
	Data    json.RawMessage `json:"data"`
}

// parkCall is the call that parks an event.
func parkCall(e *entry, content *Event) *redisx.Call {
	players, _ := json.Marshal(content.Players)
	return &redisx.Call{
		Script: parkScript, Keys: []string{keys.Webhooks, keys.WebhookTries, keys.WebhooksParked, keys.WebhookCounts},
		Args: []any{
			e.event.place, maxParked, "id", content.ID, "type", content.Type, "at", strconv.FormatInt(content.At, 10),
			"players", string(players), "data", string(content.Data), "tries", strconv.Itoa(e.tries), "error", e.lastError,
		},
	}
}

// A Backlog is what was not delivered.
type Backlog struct {
	Waiting int64         `json:"waiting"`
	Dropped int64         `json:"dropped"` // never written, or removed from the parked ones
	Total   int64         `json:"total"`   // parked
	Parked  []ParkedEvent `json:"parked"`  // oldest first
}

// List returns the backlog, with the oldest parked events behind a place: "" begins with the first.
func List(ctx context.Context, rdb redis.UniversalClient, after string, most int) (Backlog, error) {
	start := "-"
	if after != "" {
		start = "(" + after
	}
	pipe := rdb.Pipeline()
	waiting, parked := pipe.XLen(ctx, keys.Webhooks), pipe.XLen(ctx, keys.WebhooksParked)
	counts := pipe.HMGet(ctx, keys.WebhookCounts, "dropped", "removed")
	found := pipe.XRangeN(ctx, keys.WebhooksParked, start, "+", int64(most))
	if _, err := pipe.Exec(ctx); err != nil {
		return Backlog{}, fmt.Errorf("webhooks: read the parked events: %w", err)
	}
	out := Backlog{Waiting: waiting.Val(), Total: parked.Val(), Parked: []ParkedEvent{}}
	for _, c := range counts.Val() {
		text, _ := c.(string)
		n, _ := strconv.ParseInt(text, 10, 64)
		out.Dropped += n
	}
	for _, m := range found.Val() {
		out.Parked = append(out.Parked, parseParked(m))
	}
	return out, nil
}

func parseParked(m redis.XMessage) ParkedEvent {
	field := func(name string) string { v, _ := m.Values[name].(string); return v }
	raw := func(name string) json.RawMessage {
		if text := field(name); json.Valid([]byte(text)) {
			return json.RawMessage(text)
		}
		return json.RawMessage("null")
	}
	e := ParkedEvent{Place: m.ID, ID: field("id"), Type: field("type"), LastError: field("error"), Players: raw("players"), Data: raw("data")}
	e.At, _ = strconv.ParseInt(field("at"), 10, 64)
	e.Tries, _ = strconv.Atoi(field("tries"))
	e.ParkedAt = parseWaiting(m.ID, nil).At
	return e
}

// Replay has a parked event delivered again, behind those that wait. isParked is false when there
// is none at the place.
func (o *Outbox) Replay(ctx context.Context, place string) (isParked bool, err error) {
	n, err := replayScript.Do(ctx, o.rdb, []string{keys.WebhooksParked, keys.Webhooks}, place, o.most).Int()
	switch {
	case err != nil:
		return false, fmt.Errorf("webhooks: replay: %w", err)
	case n < 0:
		return true, ErrFull
	}
	return n == 1, nil
}
