package throttle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// A changeMessage is what nodes publish on keys.LimitChanges. It names one window that has changed;
// with neither field, the overrides have.
type changeMessage struct {
	Policy  string `json:"policy,omitzero"`
	Subject string `json:"subject,omitzero"`
	By      string `json:"by,omitzero"` // who has changed the overrides
}

// invalidateWindow makes every node, this one first, ask Redis again about a window.
func (l *Limiter) invalidateWindow(ctx context.Context, at windowID) error {
	l.denials.forgetWindow(at)
	return l.publishChange(ctx, changeMessage{Policy: at.policy.name, Subject: at.subject})
}

// publishChange sends a message to all nodes.
func (l *Limiter) publishChange(ctx context.Context, c changeMessage) error {
	b, err := json.Marshal(c)
	if err == nil {
		err = l.rdb.Publish(ctx, keys.LimitChanges, b).Err()
	}
	if err != nil {
		return fmt.Errorf("tell other nodes: %w", err)
	}
	return nil
}

// Override changes limits on every node that runs Run, all or none of them, until Restore brings
// the configured ones back. Windows stay as they are. Errors: ErrUnknownPolicy, ErrBadPolicy, and
// those of Redis.
func (l *Limiter) Override(ctx context.Context, overrides ...Override) error {
	if err := l.CheckOverrides(overrides); err != nil || len(overrides) == 0 {
		return err
	}
	rules := make([]any, 0, 2*len(overrides))
	for _, o := range overrides {
		rules = append(rules, o.fieldName(), o.ruleText())
	}
	if err := l.rdb.HSet(ctx, keys.LimitOverrides, rules...).Err(); err != nil {
		return fmt.Errorf("override: %w", err)
	}
	return errors.Join(l.publishChange(ctx, changeMessage{By: l.cfg.By}), l.Refresh(ctx))
}

// maxRoleRules is how many rules for roles all policies may have together when one is added: every
// node keeps them, and players are sent those of their roles.
const maxRoleRules = 1000

// countRoles returns how many rules for roles the policies have together.
func countRoles(policies []Policy) (n int) {
	for _, p := range policies {
		n += len(p.Roles)
	}
	return n
}

// CheckOverrides returns the error that Override would return for these: ErrUnknownPolicy or
// ErrBadPolicy.
func (l *Limiter) CheckOverrides(overrides []Override) error {
	l.mu.Lock()
	next, err := Apply(l.current, overrides)
	before := countRoles(l.current)
	l.mu.Unlock()
	if all := countRoles(next); err == nil && all > max(before, maxRoleRules) {
		err = fmt.Errorf("%w: %d rules for roles, of which there may be %d", ErrBadPolicy, all, maxRoleRules)
	}
	for _, p := range next {
		if err == nil {
			err = p.validate()
		}
	}
	return err
}

// Restore ends the override of a policy (or of a role in it, "chat@vip"), and tells whether there
// was one.
func (l *Limiter) Restore(ctx context.Context, name string) (bool, error) {
	n, err := l.rdb.HDel(ctx, keys.LimitOverrides, name).Result()
	if err != nil {
		return false, fmt.Errorf("restore: %w", err)
	}
	return n > 0, errors.Join(l.publishChange(ctx, changeMessage{By: l.cfg.By}), l.Refresh(ctx))
}

// Overrides returns the overrides in Redis, as this node read them last.
func (l *Limiter) Overrides() []Override {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.overrides)
}

// Refresh reads the overrides in Redis and puts them in force. Its error also names an override
// that cannot be used; the others are in force nevertheless.
func (l *Limiter) Refresh(ctx context.Context) error {
	fields, err := l.rdb.HGetAll(ctx, keys.LimitOverrides).Result()
	if err != nil {
		return fmt.Errorf("read overrides: %w", err)
	}
	l.nodes.Store(int64(l.cfg.Nodes()))
	var bad error
	var overrides []Override
	for field, text := range fields {
		o, err := ParseOverride(field + "=" + text)
		if err != nil {
			bad = err
			continue
		}
		overrides = append(overrides, o)
	}
	slices.SortFunc(overrides, func(a, b Override) int { return strings.Compare(a.fieldName(), b.fieldName()) })
	l.mu.Lock()
	changed := false
	var changes []PolicyChange
	if !slices.Equal(overrides, l.overrides) {
		before := l.current
		l.overrides = overrides
		changed = l.enforcePolicies()
		changes = l.changesSince(before, l.changedBy)
		l.changedBy = ""
	}
	bad = errors.Join(bad, l.rejected)
	l.mu.Unlock()
	l.announceChange(changed, changes)
	return bad
}

// Run keeps up with what operators change, on this node and on others, until ctx ends. It reads the
// overrides when a message says that they have changed, and every Config.RefreshEvery in case that
// a message was lost. While Redis is away the last overrides stay in force.
func (l *Limiter) Run(ctx context.Context) error {
	isStale := redisx.NewSignal() // the overrides may have changed
	isStale.Notify()
	defer l.leaveNodes()
	var subscribing sync.WaitGroup
	defer subscribing.Wait()
	subscribing.Go(func() {
		redisx.Subscribe(ctx, l.rdb, keys.LimitChanges, redisx.SubscriptionHandlers{
			OnUp: isStale.Notify, // a message may have been missed
			OnDown: func(err error) {
				if errors.Is(err, redisx.ErrSubscriptionRefused) {
					l.reportRefresh(err)
				}
				isStale.Notify() // whether Redis is away is found by reading
			},
			OnMessage: func(payload string) {
				if !l.applyWindowMessage(payload) {
					isStale.Notify()
				}
			},
		})
	})
	again := time.NewTicker(l.cfg.RefreshEvery)
	defer again.Stop()
	reported := "" // the last failure, which is reported once
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		case <-isStale.C():
		}
		try, cancel := context.WithTimeout(ctx, l.cfg.RefreshEvery)
		err := errors.Join(l.Refresh(try), l.agree(try))
		cancel()
		switch {
		case err == nil:
			reported = ""
		case ctx.Err() == nil && err.Error() != reported:
			reported = err.Error()
			l.reportRefresh(err)
		}
	}
}

// reportRefresh tells Config.OnRefresh of an error.
func (l *Limiter) reportRefresh(err error) {
	if l.cfg.OnRefresh != nil {
		l.cfg.OnRefresh(err)
	}
}

// applyWindowMessage forgets the refusal of the window that a message names; it returns false when
// the message names none.
func (l *Limiter) applyWindowMessage(payload string) bool {
	var c changeMessage
	if json.Unmarshal([]byte(payload), &c) != nil || c.Policy == "" {
		if c.By != "" && len(c.By) <= maxSubject {
			l.mu.Lock()
			l.changedBy = c.By
			l.mu.Unlock()
		}
		return false
	}
	if p := (*l.table.Load())[c.Policy]; p != nil {
		l.denials.forgetWindow(windowID{p, c.Subject})
	}
	return true
}

// storedPolicy is the form of a Policy in Redis.
type storedPolicy struct {
	Policy string   `json:"policy"`
	Rule   string   `json:"rule"`
	Scope  Scope    `json:"scope"`
	Cost   int      `json:"cost,omitzero"`
	Roles  []string `json:"roles,omitzero"` // ROLE=RULE
}

// Publish stores the configured policies in Redis for the operators' commands, in place of those
// that another node stored before. It leaves out policies with a key function. It also exchanges
// with the other nodes how each is configured, as Run does: a node calls it before it serves.
func (l *Limiter) Publish(ctx context.Context) error {
	l.mu.Lock()
	base := slices.Clone(l.base)
	l.mu.Unlock()
	var all []storedPolicy
	for _, p := range base {
		if p.Key != nil {
			continue
		}
		s := storedPolicy{Policy: p.Name, Rule: Override{Limit: p.Limit, Window: p.Window}.ruleText(), Scope: p.Scope, Cost: p.Cost}
		for _, r := range p.Roles {
			s.Roles = append(s.Roles, r.Role+"="+Override{Limit: r.Limit, Window: r.Window}.ruleText())
		}
		all = append(all, s)
	}
	b, err := json.Marshal(all)
	if err == nil {
		err = l.rdb.Set(ctx, keys.LimitPolicies, b, 0).Err()
	}
	if err != nil {
		return fmt.Errorf("publish policies: %w", err)
	}
	return l.agree(ctx)
}

// Published returns the policies that a node stored with Publish; none when no node has.
func Published(ctx context.Context, rdb redis.UniversalClient) ([]Policy, error) {
	b, err := rdb.Get(ctx, keys.LimitPolicies).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("published policies: %w", err)
	}
	var all []storedPolicy
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("published policies: %w", err)
	}
	var out []Policy
	for _, s := range all {
		p := Policy{Name: s.Policy, Scope: s.Scope, Cost: s.Cost}
		if p.Limit, p.Window, err = ParseRule(s.Rule); err != nil {
			return nil, fmt.Errorf("published policies: %s: %w", s.Policy, err)
		}
		for _, r := range s.Roles {
			o, err := ParseOverride(s.Policy + "@" + r)
			if err != nil {
				return nil, fmt.Errorf("published policies: %s: %w", s.Policy, err)
			}
			p.applyOverride(o)
		}
		out = append(out, p)
	}
	return out, nil
}
