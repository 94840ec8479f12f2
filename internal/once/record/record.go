// Package record spells the records of events that are done once, as they are in Redis: the Lua
// functions about them, and what they say. Package once says what the records are for.
package record

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	"github.com/aeturnis/realtime/internal/redisx"
)

// Functions are the Lua functions about records, to stand in front of a script. functions.lua says
// what they take and return.
//
//go:embed functions.lua
var Functions string

//go:embed look.lua
var lookLua string

//go:embed settle.lua
var settleLua string

var (
	lookScript   = redisx.NewMergingScript(redisx.ScriptParts{Before: Functions, Each: lookLua})
	settleScript = redisx.NewMergingScript(redisx.ScriptParts{Before: Functions, Each: settleLua})
)

// A State says what a record says about an event.
type State int

// The states of a record.
const (
	NotLooked State = iota // Redis did not answer, or was not asked
	Missing                // there is none, and it was not claimed
	Claimed                // there was none; the caller has the claim
	Mine                   // the caller has the claim since before
	Answered               // it has an answer
	Conflict               // it had another payload
	Held                   // another holder is at it
	Taken                  // its holder died or gave up; the caller has the claim now
	Lost                   // the same, but the claim was not taken
	Unkept                 // it was done, and its answer is not kept in the record
)

var statesByWord = map[string]State{
	"none": Missing, "claimed": Claimed, "mine": Mine, "answer": Answered, "conflict": Conflict,
	"held": Held, "taken": Taken, "lost": Lost, "long": Unkept,
}

// DoneText returns the record of an event that was done, and whose feature finds the answer by a
// reference. A look at it finds Unkept.
func DoneText(digest, reference string) string { return "L" + digest + reference }

// digestLength is how long the digest of a payload is.
const digestLength = 16

// ParseDone reads what DoneText returned. ok is false for every other record.
func ParseDone(text string) (digest, reference string, ok bool) {
	if len(text) < 1+digestLength || text[0] != 'L' {
		return "", "", false
	}
	return text[1 : 1+digestLength], text[1+digestLength:], true
}

// Found is what a look at a record found.
type Found struct {
	State  State
	Answer string        // of an answered record: '+' and data, or '-' and a fault, as JSON
	Left   time.Duration // of a held one: after which the holder counts as dead
}

// A Look is a look at one record, which may claim it.
type Look struct {
	Key    string        // the record, a Redis key
	Token  string        // of the caller
	Digest string        // of the payload, 16 characters
	Keep   time.Duration // how long a claim is kept
	// Hold is how long after its claim a holder counts as alive. With TakeDead, the caller takes
	// the claim of a dead holder, or of one that gave up.
	Hold     time.Duration
	TakeDead bool
	// Unclaimed says that a record that does not exist is not claimed: the script of the effect looks
	// again.
	Unclaimed bool
}

// Args returns the arguments of once_look, without the record: five of them.
func (l Look) Args() []any {
	take := "0"
	if l.TakeDead {
		take = "1"
	}
	return []any{l.Token, l.Digest, l.Keep.Milliseconds(), l.Hold.Milliseconds(), take}
}

// ArgsAndClaim returns Args, and whether a record that does not exist is claimed: the arguments of
// look.lua.
func (l Look) ArgsAndClaim(mayClaim bool) []any {
	claim := "0"
	if mayClaim {
		claim = "1"
	}
	return append(l.Args(), claim)
}

// Parse reads what once_look or look.lua returned. ok is false for a reply of anything else.
func Parse(reply any) (found Found, ok bool) {
	list, _ := reply.([]any)
	if len(list) == 0 {
		return Found{}, false
	}
	word, _ := list[0].(string)
	if found.State = statesByWord[word]; found.State == NotLooked {
		return Found{}, false
	}
	text := ""
	if len(list) > 1 {
		text, _ = list[1].(string)
	}
	switch found.State {
	case Answered:
		found.Answer = text
	case Held:
		ms, _ := strconv.ParseInt(text, 10, 64)
		found.Left = time.Duration(ms) * time.Millisecond
	}
	return found, true
}

// LookAlone looks at a record in a call of its own, and claims it if mayClaim and there is none.
func LookAlone(ctx context.Context, scripts *redisx.ScriptBatcher, look Look, mayClaim bool) (Found, error) {
	reply, err := scripts.Do(ctx, lookScript, []string{look.Key}, look.ArgsAndClaim(mayClaim)...).Result()
	if err != nil {
		return Found{}, fmt.Errorf("look at a record: %w", err)
	}
	found, ok := Parse(reply)
	if !ok {
		return Found{}, fmt.Errorf("look at a record: unexpected reply %v", reply)
	}
	return found, nil
}

// The ways to end a claim.
const (
	Answer  = "answer"  // with an answer
	GiveUp  = "give up" // not knowing what became of the event
	Release = "release" // nothing was done
)

// A Settlement ends a claim.
type Settlement struct {
	Key, Token, Digest string        // of the claim
	Keep               time.Duration // how long the record is kept
	How                string        // Answer, GiveUp or Release
	Answer             string        // '+' and data, or '-' and a fault, as JSON
	MaxAnswer          int           // bytes of an answer that is kept
}

// Call returns the call that ends the claim. Its reply is false when the holder lost the claim.
func (s Settlement) Call() *redisx.Call {
	return &redisx.Call{Script: settleScript, Keys: []string{s.Key}, Args: []any{
		s.Token, s.Digest, s.Keep.Milliseconds(), s.How, s.Answer, s.MaxAnswer,
	}}
}
