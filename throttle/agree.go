package throttle

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// This file lets nodes know how the others are configured. It matters most for the windows of a
// policy: the script drops admissions that no longer count for the node that asks, and they would
// be missing for a node with a longer window. So each node keeps them for the longest window that
// any living node has.

//go:embed agree.lua
var agreeLua string

var agreeScript = redisx.NewScript(agreeLua)

const (
	// nodeLease is how long a node counts after it was heard last. It is several times RefreshEvery.
	nodeLease = 30 * time.Second
	// maxKept is how many admissions a window may come to hold only because other nodes have a longer
	// one; the script reads such a window whole.
	maxKept = 50_000
)

// A Difference is a setting that two nodes have differently, and that must be one.
type Difference struct {
	Setting string // "limit chat", or a name of Config.Settings
	Here    string
	There   string
	Node    string // where it is so
}

// nodeEntry is what a node tells the others.
type nodeEntry struct {
	Limits   map[string]string `json:"limits"`  // by policy: its rules, to be compared
	Windows  map[string]int64  `json:"windows"` // by policy: the longest of all its windows, ms
	Settings map[string]string `json:"settings,omitzero"`
}

// nodeEntry returns that of this node.
func (l *Limiter) nodeEntry() nodeEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := nodeEntry{Limits: map[string]string{}, Windows: map[string]int64{}, Settings: l.cfg.Settings}
	for _, p := range l.base {
		e.Limits[p.Name] = p.rulesText()
	}
	for _, p := range l.current {
		if w := p.longestWindow(); w > 0 {
			e.Windows[p.Name] = w.Milliseconds()
		}
	}
	return e
}

// rulesText is all that two nodes must have alike of a policy.
func (p Policy) rulesText() string {
	text := Override{Limit: p.Limit, Window: p.Window}.ruleText() + " by " + string(p.Scope)
	if p.Cost > 1 {
		text += fmt.Sprintf(" cost %d", p.Cost)
	}
	roles := make([]string, len(p.Roles))
	for i, r := range p.Roles {
		roles[i] = " " + r.Role + "=" + Override{Limit: r.Limit, Window: r.Window}.ruleText()
	}
	slices.Sort(roles)
	for _, r := range roles {
		text += r
	}
	return text
}

// longestWindow is that of all rules which are not off.
func (p Policy) longestWindow() time.Duration {
	var longest time.Duration
	if p.Limit > 0 {
		longest = p.Window
	}
	for _, r := range p.Roles {
		if r.Limit > 0 {
			longest = max(longest, r.Window)
		}
	}
	return longest
}

// agree tells the other nodes how this one is configured, keeps admissions as long as any of them
// counts them, and tells Config.OnDifference of each difference once.
func (l *Limiter) agree(ctx context.Context) error {
	mine := l.nodeEntry()
	text, err := json.Marshal(mine, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("compare settings: %w", err)
	}
	reply, err := agreeScript.Do(ctx, l.rdb, []string{keys.LimitNodes}, l.cfg.Node, text, nodeLease.Milliseconds()).StringSlice()
	if err != nil {
		return fmt.Errorf("compare settings: %w", err)
	}
	others := map[string]time.Duration{}
	var found []Difference
	for i := 0; i+1 < len(reply); i += 2 {
		var e nodeEntry
		if json.Unmarshal([]byte(reply[i+1]), &e) != nil {
			continue // of another version
		}
		for name, ms := range e.Windows {
			if ms > 0 && ms <= MaxWindow.Milliseconds() {
				others[name] = max(others[name], time.Duration(ms)*time.Millisecond)
			}
		}
		found = appendDifferences(found, reply[i], "limit ", mine.Limits, e.Limits)
		found = appendDifferences(found, reply[i], "", mine.Settings, e.Settings)
	}
	l.mu.Lock()
	if !maps.Equal(others, l.otherWindows) {
		l.otherWindows = others
		l.enforcePolicies()
	}
	fresh := l.noteDifferences(found)
	isNew := string(text) != l.told
	l.told = string(text)
	l.mu.Unlock()
	if l.cfg.OnDifference != nil {
		for _, d := range fresh {
			l.cfg.OnDifference(d)
		}
	}
	if isNew { // the others must know it at once
		return l.publishChange(ctx, changeMessage{})
	}
	return nil
}

// appendDifferences appends what both nodes have, each in its own way.
func appendDifferences(found []Difference, node, kind string, mine, theirs map[string]string) []Difference {
	for _, name := range slices.Sorted(maps.Keys(mine)) {
		if other, ok := theirs[name]; ok && other != mine[name] {
			found = append(found, Difference{Setting: kind + name, Here: mine[name], There: other, Node: node})
		}
	}
	return found
}

// noteDifferences makes found the differences that there are, and returns those that were not there
// before: one for all nodes that have a setting alike. l.mu is held.
func (l *Limiter) noteDifferences(found []Difference) (fresh []Difference) {
	now := map[Difference]bool{}
	for _, d := range found {
		kind := d
		kind.Node = ""
		if !now[kind] && !l.differences[kind] {
			fresh = append(fresh, d)
		}
		now[kind] = true
	}
	l.differences = now
	return fresh
}

// leaveNodes takes this node out of those that are compared.
func (l *Limiter) leaveNodes() {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_ = agreeScript.Do(ctx, l.rdb, []string{keys.LimitNodes}, l.cfg.Node, "", 0).Err() // else its lease ends
	l.mu.Lock()
	l.told = ""
	l.mu.Unlock()
}

// keptFor returns how long the admissions of a policy are kept. Where the windows of other nodes
// would make a window hold more than maxKept, it is less than they want.
func keptFor(p Policy, others time.Duration) time.Duration {
	own := p.longestWindow()
	if own == 0 || others <= own {
		return own
	}
	perSecond := 0.0
	if p.Limit > 0 {
		perSecond = float64(p.Limit) / p.Window.Seconds()
	}
	for _, r := range p.Roles {
		if r.Limit > 0 {
			perSecond = max(perSecond, float64(r.Limit)/r.Window.Seconds())
		}
	}
	bound := time.Duration(maxKept/perSecond*1000) * time.Millisecond
	return max(own, min(others, bound))
}
