package combat_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// claimed returns the context of an event of ann's with an idempotency key, whose claim another
// holder may have had before; or the recorded answer, when there is one, decoded into answer.
func claimed(t *testing.T, rdb redis.UniversalClient, route, beside, holder string, answer any) (ctx context.Context, isAnswered bool) {
	t.Helper()
	c := &event.Claim{
		Request: event.Request{Key: "k", Digest: "0123456789abcdef", Beside: beside},
		Record:  keys.Once(route, beside, "ann", "k"), Token: holder, Keep: time.Minute,
	}
	text, err := rdb.Get(t.Context(), c.Record).Result()
	if !errors.Is(err, redis.Nil) {
		require.NoError(t, err)
	}
	if object, ok := strings.CutPrefix(text, "A"+c.Digest+"+"); ok {
		require.NoError(t, json.Unmarshal([]byte(object), answer, json.RejectUnknownMembers(true)))
		return nil, true
	}
	claim := fmt.Sprintf("C%s%013d%s", c.Digest, time.Now().UnixMilli(), holder)
	require.NoError(t, rdb.Set(t.Context(), c.Record, claim, c.Keep).Err())
	return event.WithClaim(t.Context(), c), false
}

// dying is a hook that kills a node at its nth command to Redis, before or after it: that command
// and all later ones fail.
type dying struct {
	at    int64
	after bool
	n     atomic.Int64

	before func(n int64) // called before each command; may be nil
}

var errDead = fault.Unavailable("test", time.Second, errors.New("this node is dead"))

func (d *dying) run(next func() error) error {
	n := d.n.Add(1)
	if d.before != nil {
		d.before(n)
	}
	if n < d.at {
		err := next()
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			d.n.Add(-1) // it did nothing, and comes again with the script
		}
		return err
	}
	if n == d.at && d.after {
		_ = next()
	}
	return errDead
}

func (d *dying) hasDied() bool { return d.n.Load() >= d.at }

func (d *dying) DialHook(next redis.DialHook) redis.DialHook { return next }

func (d *dying) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := d.run(func() error { return next(ctx, cmd) })
		if err != nil {
			cmd.SetErr(err)
		}
		return err
	}
}

func (d *dying) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := d.run(func() error { return next(ctx, cmds) })
		if err != nil {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
		}
		return err
	}
}

// dyingNode is a node that will die.
func dyingNode(t *testing.T, rdb redis.UniversalClient, d *dying, cfg combat.Config) world {
	own := redis.NewClient(rdb.(*redis.Client).Options())
	t.Cleanup(func() { _ = own.Close() })
	require.NoError(t, own.Ping(t.Context()).Err())
	own.AddHook(d)
	cfg.Report = func(error) {} // it dies
	return node(t, own, cfg)
}

// everyDeath runs a scenario with a node that dies before and after each of its commands.
func everyDeath(t *testing.T, rdb redis.UniversalClient, cfg combat.Config, scenario func(dies, lives world)) {
	deaths := 0
	for _, after := range []bool{false, true} {
		for n := int64(1); ; n++ {
			require.NoError(t, rdb.FlushDB(t.Context()).Err())
			d := &dying{at: n, after: after}
			scenario(dyingNode(t, rdb, d, cfg), node(t, rdb, cfg))
			if !d.hasDied() {
				break
			}
			deaths++
		}
	}
	t.Logf("%d deaths", deaths)
	require.Positive(t, deaths)
}

// A node dies at any command of an action with an idempotency key, and another one serves the
// repeat: the turn is played once, and the repeat is told of that turn.
func TestAnActionIsPlayedOnceWhateverDies(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	for _, action := range []string{"attack", "flee"} {
		everyDeath(t, rdb, combat.Config{Seed: func() uint64 { return 7 }}, func(dies, lives world) {
			s := lives.start(t, ann, "goblin")
			act := combat.Action{CombatID: s.CombatID, Action: action, IdempotencyKey: "k"}
			ctx, _ := claimed(t, rdb, "combat:action", keys.Combat(s.CombatID), "one", nil)
			first, firstErr := dies.Act(ctx, ann, act)

			var again combat.Outcome
			ctx, isAnswered := claimed(t, rdb, "combat:action", keys.Combat(s.CombatID), "two", &again)
			if !isAnswered {
				var err error
				again, err = lives.Act(ctx, ann, act)
				require.NoError(t, err)
				require.True(t, event.ClaimOf(ctx).IsRecorded())
			}
			if firstErr == nil {
				first.State.Seed, again.State.Seed = 0, 0 // which no answer has
				require.Equal(t, first, again)
			}
			require.EqualValues(t, 2, again.State.Version)
			require.EqualValues(t, 2, lives.state(t, s.CombatID).Version, "the turn was played once")
			var recorded combat.Outcome
			_, isAnswered = claimed(t, rdb, "combat:action", keys.Combat(s.CombatID), "three", &recorded)
			require.True(t, isAnswered, "the script has recorded the answer")
			again.State.Seed = 0
			require.Equal(t, again, recorded)
		})
	}
}

// A node whose claim another one took over plays nothing.
func TestALostClaimPlaysNothing(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Client(t), combat.Config{})
	s := w.start(t, ann, "goblin")
	act := combat.Action{CombatID: s.CombatID, Action: "defend", IdempotencyKey: "k"}
	late, _ := claimed(t, w.rdb, "combat:action", keys.Combat(s.CombatID), "one", nil)
	now, _ := claimed(t, w.rdb, "combat:action", keys.Combat(s.CombatID), "two", nil)
	_, err := w.Act(late, ann, act)
	require.ErrorIs(t, err, fault.ErrLocked)
	require.EqualValues(t, 1, w.state(t, s.CombatID).Version)
	out, err := w.Act(now, ann, act)
	require.NoError(t, err)
	require.EqualValues(t, 2, out.State.Version)
	again, err := w.Act(late, ann, act)
	require.NoError(t, err)
	out.State.Seed = 0
	require.Equal(t, out, again, "the late one is told what the first answer was")
	require.EqualValues(t, 2, w.state(t, s.CombatID).Version)
}

// A node dies at any command of a start with an idempotency key, and another one serves the repeat:
// one fight begins, and it holds one slot of each player.
func TestAFightIsStartedOnceWhateverDies(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	cfg := combat.Config{MaxFights: 1, Characters: &people{}}
	beside := map[string]string{"c-bob": keys.CharacterChallenges("c-bob")}
	for _, request := range []combat.StartRequest{{NPC: "goblin", IdempotencyKey: "k"}, {OpponentID: "c-bob", IdempotencyKey: "k"}} {
		everyDeath(t, rdb, cfg, func(dies, lives world) {
			lives.letIn(t, bob)
			ctx, _ := claimed(t, rdb, "combat:start", beside[request.OpponentID], "one", nil)
			first, firstErr := dies.Start(ctx, ann, request)
			ctx, _ = claimed(t, rdb, "combat:start", beside[request.OpponentID], "two", nil)
			again, err := lives.Start(ctx, ann, request)
			require.NoError(t, err)
			if firstErr == nil {
				require.Equal(t, first, again)
			}
			require.EqualValues(t, 1, again.Version)
			fights := 0
			for _, key := range rdb.Keys(t.Context(), "combat:*:state").Val() {
				require.Equal(t, keys.Combat(again.CombatID), key)
				fights++
			}
			require.Equal(t, 1, fights)
			require.Equal(t, []string{again.CombatID}, rdb.ZRange(t.Context(), keys.UserCombats("ann"), 0, -1).Val())
			if request.OpponentID != "" {
				require.Equal(t, []string{again.CombatID}, rdb.ZRange(t.Context(), keys.UserCombats("bob"), 0, -1).Val())
			}
			// The turn after it is played as ever, and a third claim still finds the same start.
			_, err = lives.act(ann, again.CombatID, "defend")
			require.NoError(t, err)
			ctx, _ = claimed(t, rdb, "combat:start", beside[request.OpponentID], "three", nil)
			third, err := lives.Start(ctx, ann, request)
			require.NoError(t, err)
			require.Equal(t, again, third)
		})
	}
}

// A fight under an id that was bound long ago is not written any more: by then another fight may
// have taken its slot. The repeat begins under another id.
func TestAnOldStartBeginsAnew(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	w := node(t, rdb, combat.Config{MaxFights: 1})
	request := combat.StartRequest{NPC: "goblin", IdempotencyKey: "k"}
	ctx, _ := claimed(t, rdb, "combat:start", "", "one", nil)
	record := event.ClaimOf(ctx).Record
	old := "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	require.NoError(t, rdb.Set(t.Context(), keys.OnceID(record), fmt.Sprint(time.Now().Add(-9*time.Second).UnixMilli(), " ", old), 0).Err())
	s, err := w.Start(ctx, ann, request)
	require.NoError(t, err)
	require.NotEqual(t, old, s.CombatID)

	// An id that becomes too old between the look at it and the write of the fight is refused there.
	bound := time.Now().Add(-7 * time.Second)
	require.NoError(t, rdb.Set(t.Context(), keys.OnceID(record), fmt.Sprint(bound.UnixMilli(), " ", old), 0).Err())
	require.NoError(t, rdb.Del(t.Context(), keys.UserCombats("ann")).Err())
	d := &dying{at: 1000, before: func(n int64) {
		if n > 2 { // it is bound, and there is no such fight
			require.Eventually(t, func() bool {
				return rdb.Time(t.Context()).Val().After(bound.Add(8 * time.Second))
			}, 5*time.Second, time.Millisecond)
		}
	}}
	_, err = dyingNode(t, rdb, d, combat.Config{}).Start(ctx, ann, request)
	require.ErrorIs(t, err, fault.ErrLocked)
	require.Zero(t, rdb.Exists(t.Context(), keys.Combat(old)).Val())
}

// Each start, and each answer to a challenge, has a record when it has a key: also a start against
// an NPC, and one of a player without a character.
func TestEveryStartWithAKeyIsRecorded(t *testing.T) {
	t.Parallel()
	routes := map[string]event.Route{}
	for _, r := range combat.New(redistest.Client(t), nil, combat.Config{}).Routes() {
		routes[r.Name] = r
	}
	for name, payloads := range map[string][]string{
		"combat:start":   {`{"npc":"goblin"}`, `{"opponentId":"bob"}`},
		"combat:accept":  {`{"challengeId":"01JZZZZZZZZZZZZZZZZZZZZZZZ"}`},
		"combat:decline": {`{"challengeId":"01JZZZZZZZZZZZZZZZZZZZZZZZ"}`},
	} {
		for _, payload := range payloads {
			for _, p := range []event.Player{{UserID: "ann"}, {UserID: "ann", CharacterID: "hero"}} {
				request, err := routes[name].OnceRule.Identify(&p, []byte(payload), "k")
				require.NoError(t, err, name)
				require.Equal(t, "k", request.Key, "%s %s", name, payload)
				require.NotEmpty(t, request.Beside, "%s %s", name, payload)
			}
		}
	}
}
