package gateway

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/identity"
)

// This file keeps the last refusals, so that an operator can ask why a player was refused. A
// connection keeps its own, so that another one that is refused all the time does not push them
// out; those of connections that have ended, and of clients that never connected, are in one ring.

const (
	lastPerConn = 8    // refusals that a connection keeps
	lastPerNode = 1024 // refusals that the node keeps of others
	maxSpenders = 1024 // users and policies of connections that have ended

	maxLoggedName   = 64  // bytes of the name of an unknown event
	maxLoggedReason = 200 // bytes of a reason
)

// A Refusal is an event, or a connection, that was refused.
type Refusal struct {
	At      time.Time
	UserID  string // "" where the user was not known
	Session string // the tag of the session; "" where it was not known
	Conn    string
	Addr    string
	Event   string // "" for a connection
	Code    string
	Policy  string // of RATE_LIMITED
	Field   string // of INVALID
	Reason  string
}

// refusalRing keeps the last refusals that no connection keeps.
type refusalRing struct {
	mu       sync.Mutex
	refusals []Refusal               // guarded by mu
	next     int                     // where the next one goes, once there are lastPerNode; guarded by mu
	spenders map[spenderPolicy]int64 // refusals by limits, of connections that have ended; guarded by mu
}

type spenderPolicy struct{ user, policy string }

func (r *refusalRing) add(all ...Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range all {
		if len(r.refusals) < lastPerNode {
			r.refusals = append(r.refusals, x)
			continue
		}
		r.refusals[r.next] = x
		r.next = (r.next + 1) % lastPerNode
	}
}

// addSpender keeps how often a limit refused a user whose connection has ended. When there are too
// many, the one with the fewest gives its place and its count to the new one, as in a count of
// frequent items.
func (r *refusalRing) addSpender(at spenderPolicy, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.spenders == nil {
		r.spenders = map[spenderPolicy]int64{}
	}
	if _, ok := r.spenders[at]; !ok && len(r.spenders) >= maxSpenders {
		var least spenderPolicy
		fewest := int64(1 << 62)
		for s, count := range r.spenders {
			if count < fewest {
				least, fewest = s, count
			}
		}
		delete(r.spenders, least)
		n += fewest
	}
	r.spenders[at] += n
}

// noteRefusal keeps a refusal of a connection.
func (c *conn) noteRefusal(x Refusal) {
	b := &c.budgets
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.last) == lastPerConn {
		b.last = slices.Delete(b.last, 0, 1)
	}
	b.last = append(b.last, x)
}

// keepRefusals keeps what is known of the refusals of a connection that has ended.
func (r *refusalRing) keepRefusals(c *conn) {
	c.budgets.mu.Lock()
	last, budgets := c.budgets.last, slices.Clone(c.budgets.byPolicy)
	c.budgets.mu.Unlock()
	if len(last) > 0 {
		r.add(last...)
	}
	for _, b := range budgets {
		if b.total > 0 {
			r.addSpender(spenderPolicy{c.player.Load().UserID, b.policy}, int64(b.total))
		}
	}
}

// refusalOf returns the refusal of a player's event.
func refusalOf(p *event.Player, name string, f *fault.Fault) Refusal {
	field, reason := reasonOf(f, p)
	return Refusal{
		At: time.Now(), UserID: p.UserID, Session: identity.SessionTag(p.SessionID), Conn: p.Conn, Addr: p.Addr,
		Event: name, Code: f.Code, Field: field, Reason: reason,
	}
}

// reasonOf returns the details field and reason of a fault, cut: a field is named as the client
// wrote it.
func reasonOf(f *fault.Fault, p *event.Player) (field, reason string) {
	if v := f.Detail("field"); v != nil {
		field = printable(hideSession(fmt.Sprint(v), p), maxLoggedReason)
	}
	if v := f.Detail("reason"); v != nil {
		reason = printable(hideSession(fmt.Sprint(v), p), maxLoggedReason)
	}
	return field, reason
}

// hideSession takes the id of the player's session out of a text of the client: it is a secret.
func hideSession(text string, p *event.Player) string {
	if p.SessionID == "" {
		return text
	}
	return strings.ReplaceAll(text, p.SessionID, "***")
}

// printable returns at most so many bytes of a text of a client, with ? for what could not be
// printed.
func printable(text string, most int) string {
	isCut := len(text) > most
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(text[:min(len(text), most)], ""))
	if isCut {
		text += "…"
	}
	return text
}

// Refusals returns the last refusals on this node, newest first, at most most: of a user, or of
// everybody when userID is "".
func (g *Gateway) Refusals(userID string, most int) []Refusal {
	var all []Refusal
	collect := func(refusals []Refusal) {
		for _, x := range refusals {
			if userID == "" || x.UserID == userID {
				all = append(all, x)
			}
		}
	}
	g.refused.mu.Lock()
	collect(g.refused.refusals)
	g.refused.mu.Unlock()
	for _, c := range g.connsOf(userID) {
		c.budgets.mu.Lock()
		collect(c.budgets.last)
		c.budgets.mu.Unlock()
	}
	slices.SortStableFunc(all, func(a, b Refusal) int { return b.At.Compare(a.At) })
	return all[:min(len(all), most)]
}

// A Spender is a user whom a limit refused.
type Spender struct {
	Policy string
	UserID string
	Times  int64
}

// Spenders returns how often each limit refused each user on this node, by Times: at most most of
// each policy. Of connections that have ended only the most frequent are known.
func (g *Gateway) Spenders(most int) []Spender {
	counts := map[spenderPolicy]int64{}
	g.refused.mu.Lock()
	for at, n := range g.refused.spenders {
		counts[at] = n
	}
	g.refused.mu.Unlock()
	for _, c := range g.connsOf("") {
		user := c.player.Load().UserID
		c.budgets.mu.Lock()
		for _, b := range c.budgets.byPolicy {
			if b.total > 0 {
				counts[spenderPolicy{user, b.policy}] += int64(b.total)
			}
		}
		c.budgets.mu.Unlock()
	}
	all := make([]Spender, 0, len(counts))
	for at, n := range counts {
		all = append(all, Spender{at.policy, at.user, n})
	}
	slices.SortFunc(all, func(a, b Spender) int {
		if a.Times != b.Times {
			return int(max(-1, min(1, b.Times-a.Times)))
		}
		return strings.Compare(a.Policy+" "+a.UserID, b.Policy+" "+b.UserID)
	})
	listed := map[string]int{}
	return slices.DeleteFunc(all, func(s Spender) bool {
		listed[s.Policy]++
		return listed[s.Policy] > most
	})
}
