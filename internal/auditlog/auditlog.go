// Package auditlog keeps what operators did, and when nodes started with which settings: one
// stream in Redis of about ten thousand entries, the oldest of which go.
//
// It answers "what changed since yesterday". It is no proof: an act says who the command ran as,
// and whoever may write to this Redis can write here.
package auditlog

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

const (
	maxActs = 10_000 // acts that are kept, about
	maxText = 8192   // bytes of one text
)

// Started is what a node did that started: Target is its name, From the hash of all its settings,
// To those that differ from the defaults, a line each, and Why its version.
const Started = "started"

// An Act is one thing that was done.
type Act struct {
	At     time.Time // by Redis's clock
	By     string    // user@host of an operator, or "node <name>"
	What   string    // such as "limits set"
	Target string    // whom or what, such as a user id; session ids are hashed
	From   string    // what held before, where that is known
	To     string    // what holds now
	Why    string    // the reason that was given
}

// Record stores an act.
func Record(ctx context.Context, rdb redis.UniversalClient, a Act) error {
	values := []any{"by", cutText(a.By), "what", cutText(a.What)}
	for _, f := range []struct{ name, text string }{{"target", a.Target}, {"from", a.From}, {"to", a.To}, {"why", a.Why}} {
		if f.text != "" {
			values = append(values, f.name, cutText(f.text))
		}
	}
	if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: keys.OperatorActs, MaxLen: maxActs, Approx: true, Values: values}).Err(); err != nil {
		return fmt.Errorf("record %s: %w", a.What, err)
	}
	return nil
}

// A Query says which acts Read returns.
type Query struct {
	Since time.Time         // zero is all
	Match func(a *Act) bool // nil is all
	Most  int               // how many are returned; the newest are
}

// Read returns acts, newest first. Errors: those of Redis.
func Read(ctx context.Context, rdb redis.UniversalClient, q Query) ([]Act, error) {
	oldest := "-"
	if !q.Since.IsZero() {
		oldest = strconv.FormatInt(max(0, q.Since.UnixMilli()), 10)
	}
	acts, newest := []Act{}, "+"
	for len(acts) < q.Most {
		messages, err := rdb.XRevRangeN(ctx, keys.OperatorActs, newest, oldest, 500).Result()
		if err != nil {
			return nil, fmt.Errorf("read the operators' acts: %w", err)
		}
		for _, m := range messages {
			a := parseAct(m)
			if len(acts) < q.Most && (q.Match == nil || q.Match(&a)) {
				acts = append(acts, a)
			}
		}
		if len(messages) < 500 {
			break
		}
		newest = "(" + messages[len(messages)-1].ID
	}
	return acts, nil
}

// parseAct reads an entry. What is missing, or was written by another program, is empty.
func parseAct(m redis.XMessage) Act {
	field := func(name string) string { text, _ := m.Values[name].(string); return cutText(text) }
	ms, _, _ := strings.Cut(m.ID, "-")
	at, _ := strconv.ParseInt(ms, 10, 64)
	return Act{time.UnixMilli(at), field("by"), field("what"), field("target"), field("from"), field("to"), field("why")}
}

// cutText returns text as valid UTF-8 of at most maxText bytes.
func cutText(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "?")
}
