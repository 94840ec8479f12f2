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
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

const (
	// everywhere is the channel of a sanction that holds in all channels and for whispers.
	everywhere = ""
	// versionField is the field that counts the changes of the rules.
	versionField = ":version"
	// lookEvery is how often a node asks whether another node changed the rules.
	lookEvery = time.Second
	// maxRules is how many sanctions there may be; further ones are refused.
	maxRules = 100_000
)

// The values of Sanction.Kind.
const (
	Mute = "mute" // the player may not speak
	Ban  = "ban"  // the player may not speak, and not be in the channel
)

//go:embed remove_expired.lua
var forgetLua string

var forgetScript = redisx.NewScript(forgetLua)

// rules are the sanctions and the slow channels. They are one hash in Redis, and every node has a
// copy, which is at most a second old while Redis works. Checking the rules does not wait for Redis.
type rules struct {
	rdb redis.UniversalClient // nil: there are no rules
	now func() time.Time

	copy    atomic.Pointer[rulebook] // nil until the first load has succeeded
	loading sync.Mutex               // held while the rules are read, so that an older copy never replaces a newer one
	asked   atomic.Bool              // whether a caller has already waited for the first load
}

// A rulebook is one version of the rules. It is never changed.
type rulebook struct {
	version   string
	sanctions map[sanctioned]Sanction
	slow      map[string]Slowness // by channel
}

var noRules = &rulebook{}

// A sanctioned key identifies a sanction.
type sanctioned struct{ kind, channel, userID string }

// field returns the sanction's field in the hash of the rules.
func (s sanctioned) field() string { return s.kind + " " + s.channel + " " + s.userID }

// slowField returns the field of a channel's slow mode in the hash of the rules.
func slowField(channel string) string { return "slow " + channel }

// book returns the node's copy. The first caller waits until it is read; when that fails, there are
// no rules until Run has read them.
func (r *rules) book(ctx context.Context) *rulebook {
	if b := r.copy.Load(); b != nil {
		return b
	}
	if r.rdb != nil && !r.asked.Swap(true) {
		_ = r.load(ctx) // Run tries again and reports the error
	}
	if b := r.copy.Load(); b != nil {
		return b
	}
	return noRules
}

// muted returns why a user may not speak in a channel, or nil.
func (r *rules) muted(ctx context.Context, userID, channel string) error {
	b := r.book(ctx)
	if len(b.sanctions) == 0 {
		return nil
	}
	if err := r.banned(ctx, userID, channel); err != nil {
		return err
	}
	if s, ok := b.find(Mute, userID, channel, r.now()); ok {
		return s.explain(ErrMuted, r.now())
	}
	return nil
}

// banned returns why a user may not be in a channel, or nil.
func (r *rules) banned(ctx context.Context, userID, channel string) error {
	if s, ok := r.book(ctx).find(Ban, userID, channel, r.now()); ok {
		return s.explain(ErrBanned, r.now())
	}
	return nil
}

// slow returns how long a player must wait between two messages in a channel; 0 when it is not slow.
func (r *rules) slow(channel string) time.Duration {
	b := r.copy.Load()
	if b == nil || len(b.slow) == 0 {
		return 0
	}
	return time.Duration(b.slow[channel].EveryMs) * time.Millisecond
}

// find returns the sanction of that kind that holds longest, of the channel's and the general one.
func (b *rulebook) find(kind, userID, channel string, now time.Time) (s Sanction, found bool) {
	if len(b.sanctions) == 0 {
		return s, false
	}
	for _, at := range []string{everywhere, channel} {
		if x, ok := b.sanctions[sanctioned{kind, at, userID}]; ok && now.UnixMilli() < x.Until && x.Until > s.Until {
			s, found = x, true
		}
	}
	return s, found
}

// load reads all rules, and removes the sanctions that are over from Redis.
func (r *rules) load(ctx context.Context) error {
	r.loading.Lock()
	defer r.loading.Unlock()
	all, err := r.rdb.HGetAll(ctx, keys.ChatRules).Result()
	if err != nil {
		return fmt.Errorf("chat: read the rules: %w", err)
	}
	b := &rulebook{version: all[versionField], sanctions: map[sanctioned]Sanction{}, slow: map[string]Slowness{}}
	delete(all, versionField)
	var over []any // field, value, field, …
	var wrong error
	for field, text := range all {
		words := strings.SplitN(field, " ", 3)
		switch {
		case len(words) == 2 && words[0] == "slow":
			var s Slowness
			if wrong = errors.Join(wrong, json.Unmarshal([]byte(text), &s)); s.EveryMs > 0 {
				b.slow[words[1]] = s
			}
		case len(words) == 3:
			var s Sanction
			wrong = errors.Join(wrong, json.Unmarshal([]byte(text), &s))
			if s.Until <= r.now().UnixMilli() {
				over = append(over, field, text)
			} else if len(b.sanctions) < maxRules {
				b.sanctions[sanctioned{words[0], words[1], words[2]}] = s
			}
		}
	}
	r.copy.Store(b)
	if len(over) > 0 {
		wrong = errors.Join(wrong, forgetScript.Do(ctx, r.rdb, []string{keys.ChatRules}, over...).Err())
	}
	if wrong != nil {
		return fmt.Errorf("chat: read the rules: %w", wrong)
	}
	return nil
}

// change writes one field, or removes it when value is nil, and reads all rules again. existed says
// whether the field was there before.
func (r *rules) change(ctx context.Context, field string, value any) (existed bool, err error) {
	if r.rdb == nil {
		return false, fault.Unavailable(feature, redisx.RetryAfter, errAway)
	}
	var was *redis.BoolCmd
	_, err = r.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		was = p.HExists(ctx, keys.ChatRules, field)
		if value == nil {
			p.HDel(ctx, keys.ChatRules, field)
		} else {
			text, err := json.Marshal(value)
			if err != nil {
				return err
			}
			p.HSet(ctx, keys.ChatRules, field, text)
		}
		p.HIncrBy(ctx, keys.ChatRules, versionField, 1)
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("chat: change the rules: %w", err)
	}
	return was.Val(), r.load(ctx)
}

// Run keeps this node's copy of the rules up to date until ctx ends: what a moderator does on another
// node holds here within a second.
func (s *Service) Run(ctx context.Context) error {
	r := s.rules
	if r.rdb == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	failing := false
	for {
		err := s.look(ctx)
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

// look reads the rules if they have changed, and removes banned users from their channels.
func (s *Service) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	r := s.rules
	version, err := r.rdb.HGet(ctx, keys.ChatRules, versionField).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("chat: version of the rules: %w", err)
	}
	if b := r.copy.Load(); b != nil && b.version == version {
		return nil
	}
	if err := r.load(ctx); err != nil {
		return err
	}
	now := r.now().UnixMilli()
	var failed error
	for at, x := range r.copy.Load().sanctions {
		if at.kind == Ban && now < x.Until {
			failed = errors.Join(failed, s.expel(ctx, at.userID, at.channel))
		}
	}
	return failed
}

// expel takes a user's connections on this node out of one channel or of all.
func (s *Service) expel(ctx context.Context, userID, channel string) (err error) {
	for _, p := range s.gateway.Here(userID) {
		err = errors.Join(err, s.expelOne(ctx, p, channel))
	}
	return err
}

// expelOne takes one connection out of one channel or of all.
func (s *Service) expelOne(ctx context.Context, p event.Player, channel string) (err error) {
	channels := []string{channel}
	if channel == everywhere {
		channels = s.gateway.RoomsOf(p.Conn, RoomPrefix)
		for i := range channels {
			channels[i] = strings.TrimPrefix(channels[i], RoomPrefix)
		}
	}
	for _, c := range channels {
		if s.gateway.In(p.Conn, RoomPrefix+c) {
			_, e := s.leave(ctx, p, c)
			err = errors.Join(err, e)
		}
	}
	return err
}
