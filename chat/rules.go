package chat

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

const (
	// everywhere is the channel of a sanction that holds in all channels and for whispers.
	everywhere = ""
	// versionField is the field that counts the changes of the rules.
	versionField = ":version"
	// rulesPollInterval is how often a node asks whether another node changed the rules: often enough
	// that a change is in force on every node within a second.
	rulesPollInterval = 500 * time.Millisecond
	// maxRules is how many sanctions there may be; further ones are refused.
	maxRules = 100_000
)

// The values of Sanction.Kind.
const (
	Mute = "mute" // the player may not speak
	Ban  = "ban"  // the player may not speak, and not be in the channel
)

//go:embed remove_expired.lua
var removeExpiredLua string

//go:embed change_rule.lua
var changeRuleLua string

var (
	removeExpiredScript = redisx.NewScript(removeExpiredLua)
	changeRuleScript    = redisx.NewScript(record.Functions + changeRuleLua)
)

// rules are the sanctions and the slow channels. They are one hash in Redis, and every node has a
// copy, which is at most a second old while Redis works. Checking the rules does not wait for
// Redis.
type rules struct {
	rdb    redis.UniversalClient // nil: there are no rules
	now    func() time.Time
	report func(error) // of rules that cannot be read

	current        atomic.Pointer[rulebook] // nil until the first load has succeeded
	loading        sync.Mutex               // held while reading, so that no older copy wins
	firstLoadTried atomic.Bool              // whether a caller has already waited for the first load
}

// A rulebook is one version of the rules. It is never changed.
type rulebook struct {
	version   string
	sanctions map[sanctionKey]Sanction
	slow      map[string]SlowMode // by channel
}

var noRules = &rulebook{}

// A sanctionKey key identifies a sanction.
type sanctionKey struct{ kind, channel, userID string }

// hashField returns the sanction's field in the hash of the rules.
func (s sanctionKey) hashField() string { return s.kind + " " + s.channel + " " + s.userID }

// slowField returns the field of a channel's slow mode in the hash of the rules.
func slowField(channel string) string { return "slow " + channel }

// currentRulebook returns the node's copy. The first caller waits until it is read; when that
// fails, there are no rules until Run has read them.
func (r *rules) currentRulebook(ctx context.Context) *rulebook {
	if b := r.current.Load(); b != nil {
		return b
	}
	if r.rdb != nil && !r.firstLoadTried.Swap(true) {
		_ = r.reloadRules(ctx) // Run tries again and reports the error
	}
	if b := r.current.Load(); b != nil {
		return b
	}
	return noRules
}

// checkMuted returns why a user may not speak in a channel, or nil.
func (r *rules) checkMuted(ctx context.Context, userID, channel string) error {
	b := r.currentRulebook(ctx)
	if len(b.sanctions) == 0 {
		return nil
	}
	if err := r.checkBanned(ctx, userID, channel); err != nil {
		return err
	}
	if s, ok := b.longestSanction(Mute, userID, channel, r.now()); ok {
		return s.addDetails(ErrMuted, r.now())
	}
	return nil
}

// checkBanned returns why a user may not be in a channel, or nil.
func (r *rules) checkBanned(ctx context.Context, userID, channel string) error {
	if s, ok := r.currentRulebook(ctx).longestSanction(Ban, userID, channel, r.now()); ok {
		return s.addDetails(ErrBanned, r.now())
	}
	return nil
}

// slowInterval returns how long a player must wait between two messages in a channel; 0 when it is
// not slow.
func (r *rules) slowInterval(channel string) time.Duration {
	b := r.current.Load()
	if b == nil || len(b.slow) == 0 {
		return 0
	}
	return time.Duration(b.slow[channel].EveryMs) * time.Millisecond
}

// longestSanction returns the sanction of that kind that holds longest, of the channel's and the
// general one.
func (b *rulebook) longestSanction(kind, userID, channel string, now time.Time) (s Sanction, found bool) {
	if len(b.sanctions) == 0 {
		return s, false
	}
	for _, at := range []string{everywhere, channel} {
		if x, ok := b.sanctions[sanctionKey{kind, at, userID}]; ok && now.UnixMilli() < x.Until && x.Until > s.Until {
			s, found = x, true
		}
	}
	return s, found
}

// reloadRules reads all rules, and removes the sanctions that are over from Redis. A rule that
// cannot be read is left out and reported; it stays in Redis.
func (r *rules) reloadRules(ctx context.Context) error {
	r.loading.Lock()
	defer r.loading.Unlock()
	all, err := r.rdb.HGetAll(ctx, keys.ChatRules).Result()
	if err != nil {
		return fmt.Errorf("chat: read the rules: %w", err)
	}
	book := &rulebook{version: all[versionField], sanctions: map[sanctionKey]Sanction{}, slow: map[string]SlowMode{}}
	delete(all, versionField)
	var expired []any // field, value, field, …
	unreadable := func(field string, err error) {
		r.report(&redisx.UnreadableError{Key: keys.ChatRules, Entry: field, Err: err})
	}
	for field, text := range all {
		words := strings.SplitN(field, " ", 3)
		switch {
		case len(words) == 2 && words[0] == "slow":
			var s SlowMode
			if err := json.Unmarshal([]byte(text), &s); err != nil {
				unreadable(field, err)
			} else if s.EveryMs > 0 {
				book.slow[words[1]] = s
			}
		case len(words) == 3:
			var s Sanction
			if err := json.Unmarshal([]byte(text), &s); err != nil {
				unreadable(field, err)
			} else if s.Until <= r.now().UnixMilli() {
				expired = append(expired, field, text)
			} else if len(book.sanctions) < maxRules {
				book.sanctions[sanctionKey{words[0], words[1], words[2]}] = s
			}
		}
	}
	r.current.Store(book)
	if len(expired) > 0 {
		if err := removeExpiredScript.Do(ctx, r.rdb, []string{keys.ChatRules}, expired...).Err(); err != nil {
			return fmt.Errorf("chat: remove the rules that are over: %w", err)
		}
	}
	return nil
}

// errNothingChanged says that the field to remove was not there.
var errNothingChanged = errors.New("chat: there is no such rule")

// errAlreadyDone says that the change was made before, under the same idempotency key.
var errAlreadyDone = errors.New("chat: the rule was changed before")

// changeRule writes one field, or removes it when value is nil, and reads all rules again. With an
// idempotency key the script records answer. Errors: errNothingChanged; errAlreadyDone, then answer
// is what it was the first time; once.ErrLost.
func (r *rules) changeRule(ctx context.Context, field string, value, answer any) error {
	if r.rdb == nil {
		return fault.Unavailable(feature, redisx.RetryAfter, errRedisPaused)
	}
	args := []any{field, "", versionField}
	if value != nil {
		text, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("chat: change the rules: %w", err)
		}
		args[1] = text
	}
	ruleKeys, claim := []string{keys.ChatRules}, event.ClaimOf(ctx)
	if claim != nil {
		text, err := json.Marshal(answer)
		if err != nil {
			return fmt.Errorf("chat: change the rules: %w", err)
		}
		ruleKeys, args = append(ruleKeys, claim.Record), append(args, once.Args(claim, text)...)
	}
	reply, err := changeRuleScript.Do(ctx, r.rdb, ruleKeys, args...).StringSlice()
	switch {
	case err != nil:
		return fmt.Errorf("chat: change the rules: %w", err)
	case reply[0] == "nothing":
		return errNothingChanged
	case reply[0] != "changed":
		if err := once.ReadCheck(claim, reply, answer); err != nil {
			return err
		}
		return errAlreadyDone
	case claim != nil:
		claim.MarkRecorded()
	}
	return r.reloadRules(ctx)
}

// Run keeps this node's copy of the rules up to date until ctx ends: what a moderator does on
// another node holds here within a second, and who may not be in a channel any more is out of it
// within five.
func (s *Service) Run(ctx context.Context) error {
	r := s.rules
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		s.watchMembers(ctx)
	}()
	defer func() { <-watching }()
	if r.rdb == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(rulesPollInterval)
	defer tick.Stop()
	failing := false
	for {
		err := s.refreshRules(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			s.cfg.Report(err)
		}
		failing = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// refreshRules reads the rules if they have changed, and removes banned users from their channels.
func (s *Service) refreshRules(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rulesPollInterval)
	defer cancel()
	r := s.rules
	version, err := r.rdb.HGet(ctx, keys.ChatRules, versionField).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("chat: version of the rules: %w", err)
	}
	if b := r.current.Load(); b != nil && b.version == version {
		return nil
	}
	if err := r.reloadRules(ctx); err != nil {
		return err
	}
	now := r.now().UnixMilli()
	var failed error
	for key, sanction := range r.current.Load().sanctions {
		if key.kind == Ban && now < sanction.Until {
			failed = errors.Join(failed, s.expelUser(ctx, key.userID, key.channel))
		}
	}
	return failed
}

// expelUser takes a user's connections on this node out of one channel or of all.
func (s *Service) expelUser(ctx context.Context, userID, channel string) (err error) {
	for _, p := range s.gateway.Here(userID) {
		err = errors.Join(err, s.expelConnection(ctx, p, channel))
	}
	return err
}

// expelConnection takes one connection out of one channel or of all.
func (s *Service) expelConnection(ctx context.Context, p event.Player, channel string) (err error) {
	channels := []string{channel}
	if channel == everywhere {
		channels = s.gateway.RoomsOf(p.Conn, RoomPrefix)
		for i := range channels {
			channels[i] = strings.TrimPrefix(channels[i], RoomPrefix)
		}
	}
	for _, c := range channels {
		err = errors.Join(err, s.removeConnection(ctx, p, c, ErrBanned.Code))
	}
	return err
}
