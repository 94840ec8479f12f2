package combat_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

var (
	ann = event.Player{UserID: "ann", Username: "Ann", CharacterID: "c-ann", Conn: "conn-ann"}
	bob = event.Player{UserID: "bob", Username: "Bob", CharacterID: "c-bob", Conn: "conn-bob"}
)

// world is a node of the game. Several nodes may share one Redis.
type world struct {
	*combat.Service
	rooms *rooms
	rdb   redis.UniversalClient
}

func node(t testing.TB, rdb redis.UniversalClient, cfg combat.Config) world {
	if cfg.Report == nil {
		cfg.Report = func(err error) { t.Errorf("reported: %v", err) }
	}
	r := newRooms()
	return world{combat.New(rdb, r, cfg), r, rdb}
}

func (w world) start(t testing.TB, p event.Player, npc string) combat.State {
	t.Helper()
	s, err := w.Start(context.Background(), p, combat.StartRequest{NPC: npc})
	require.NoError(t, err)
	return *s.State
}

func (w world) act(p event.Player, id, action string) (combat.Outcome, error) {
	return w.Act(context.Background(), p, combat.Action{CombatID: id, Action: action})
}

func (w world) state(t testing.TB, id string) combat.State {
	t.Helper()
	s, err := w.State(context.Background(), event.Player{UserID: "spectator"}, combat.StateRequest{CombatID: id})
	require.NoError(t, err)
	return s
}

// ask sends an event as a client does: by its name, with raw JSON.
func (w world) ask(t testing.TB, p event.Player, name, raw string) error {
	t.Helper()
	for _, r := range w.Routes() {
		if r.Name == name {
			_, err := r.Serve(context.Background(), &p, []byte(raw), nil)
			return err
		}
	}
	t.Fatalf("no route %s", name)
	return nil
}

func TestStart(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Client(t), combat.Config{Now: func() time.Time { return time.UnixMilli(1_700_000_000_000) }})
	s := w.start(t, ann, "goblin")
	require.Equal(t, combat.Active, s.Status)
	require.EqualValues(t, 1, s.Version)
	require.EqualValues(t, 1, s.Turn)
	require.EqualValues(t, 1_700_000_000_000, s.StartedAt)
	require.Len(t, s.Participants, 2)
	require.Equal(t, "c-ann", s.Participants[0].ID)
	require.Equal(t, "ann", s.Participants[0].UserID)
	require.Equal(t, "npc:goblin", s.Participants[1].ID)
	require.Equal(t, s.Participants[1].MaxHP, s.Participants[1].HP)
	require.True(t, w.rooms.has(ann.Conn, "combat:"+s.CombatID), "the connection that started the fight is in its room")
	require.Equal(t, s, withSeed(w.state(t, s.CombatID), s.Seed))

	ttl := w.rdb.PTTL(t.Context(), keys.Combat(s.CombatID)).Val()
	require.InDelta(t, 10*time.Minute, ttl, float64(time.Minute))
	require.NotEqual(t, s.Seed, w.start(t, ann, "goblin").Seed)
}

// withSeed returns the state with a seed, which players do not see.
func withSeed(s combat.State, seed uint64) combat.State { s.Seed = seed; return s }

func TestAFightFromStartToEnd(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Client(t), combat.Config{})
	s := w.start(t, ann, "goblin")
	version := s.Version
	for s.Status == combat.Active {
		out, err := w.act(ann, s.CombatID, "attack")
		require.NoError(t, err)
		require.Equal(t, version+1, out.State.Version)
		require.Equal(t, s.Turn, out.Event.Turn)
		require.Equal(t, "c-ann", out.Event.By)
		require.Equal(t, "npc:goblin", out.Event.Target)
		s, version = out.State, out.State.Version
	}
	require.NotEmpty(t, s.Winner)
	require.Equal(t, combat.Defeated, s.Outcome)

	told := w.rooms.told()
	require.Len(t, told, int(version)) // one for each turn, and the end
	for i, c := range told[:len(told)-1] {
		require.Equal(t, "combat:"+s.CombatID, c.room)
		require.Equal(t, "combat:update", c.event)
		u := c.payload.(*combat.Update)
		require.Equal(t, s.CombatID, u.CombatID)
		require.EqualValues(t, i+2, u.State.Version, "the updates arrive in the order of their versions")
	}
	last := told[len(told)-1]
	require.Equal(t, "combat:ended", last.event)
	require.Equal(t, combat.Ending{CombatID: s.CombatID, Winner: s.Winner, Outcome: combat.Defeated, Rewards: combat.Rewards{Items: []combat.Item{}}, Version: s.Version}, last.payload)
	require.False(t, w.rooms.has(ann.Conn, "combat:"+s.CombatID), "the connection leaves the room after the end")

	_, err := w.act(ann, s.CombatID, "attack")
	require.ErrorIs(t, err, combat.ErrFightOver)
	require.Equal(t, withSeed(s, 0), withSeed(w.state(t, s.CombatID), 0), "an ended fight can still be read")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Client(t), combat.Config{})
	id := w.start(t, ann, "goblin").CombatID
	gone := "01J0000000000000000000000X"
	for name, c := range map[string]struct {
		who              event.Player
		event, raw, code string
		field            any
	}{
		"nothing to fight":                     {ann, "combat:start", `{}`, "INVALID", "npc"},
		"two to fight":                         {ann, "combat:start", `{"npc":"goblin","opponentId":"c-bob"}`, "INVALID", "npc"},
		"no such NPC":                          {ann, "combat:start", `{"npc":"dragon"}`, "NOT_FOUND", nil},
		"another player, of whom nobody knows": {ann, "combat:start", `{"opponentId":"c-bob"}`, "NOT_FOUND", nil},
		"a long name":                          {ann, "combat:start", `{"npc":"` + fmt.Sprintf("%065d", 0) + `"}`, "INVALID", "npc"},
		"hp of one's own":                      {ann, "combat:start", `{"npc":"goblin","hp":9999}`, "INVALID", "hp"},
		"no fight named":                       {ann, "combat:action", `{"action":"attack"}`, "INVALID", "combatId"},
		"no action":                            {ann, "combat:action", `{"combatId":"` + id + `"}`, "INVALID", "action"},
		"no such action":                       {ann, "combat:action", `{"combatId":"` + id + `","action":"mend"}`, "INVALID", "action"},
		"no such target":                       {ann, "combat:action", `{"combatId":"` + id + `","action":"attack","target":"c-bob"}`, "INVALID", "target"},
		"oneself":                              {ann, "combat:action", `{"combatId":"` + id + `","action":"skill","target":"c-ann"}`, "INVALID", "target"},
		"no such fight":                        {ann, "combat:action", `{"combatId":"` + gone + `","action":"attack"}`, "NOT_FOUND", nil},
		"no id of a fight":                     {ann, "combat:action", `{"combatId":"*","action":"attack"}`, "NOT_FOUND", nil},
		"a fight of others":                    {bob, "combat:action", `{"combatId":"` + id + `","action":"attack"}`, "FORBIDDEN", nil},
		"nobody":                               {event.Player{}, "combat:action", `{"combatId":"` + id + `","action":"flee"}`, "FORBIDDEN", nil},
		"state of no fight":                    {ann, "combat:state", `{"combatId":"` + gone + `"}`, "NOT_FOUND", nil},
		"state without an id":                  {ann, "combat:state", `{}`, "INVALID", "combatId"},
		"a list as an id":                      {ann, "combat:state", `{"combatId":["` + id + `"]}`, "INVALID", "combatId"},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.ask(t, c.who, c.event, c.raw)
			require.Error(t, err)
			require.Equal(t, c.code, fault.Of(err).Code, err)
			require.Equal(t, c.field, fault.Of(err).Detail("field"))
		})
	}
	require.Empty(t, w.rooms.told())
	require.EqualValues(t, 1, w.state(t, id).Version, "nothing has changed")
}

func TestTheTargetMayBeNamed(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Client(t), combat.Config{})
	id := w.start(t, ann, "training-dummy").CombatID
	require.NoError(t, w.ask(t, ann, "combat:action", `{"combatId":"`+id+`","action":"skill","target":"npc:training-dummy"}`))
	require.NoError(t, w.ask(t, ann, "combat:action", `{"combatId":"`+id+`","action":"defend","target":"whatever"}`))
	_, err := w.act(ann, id, "skill")
	require.ErrorIs(t, err, combat.ErrCooldown)
}

func TestOneMayComeBack(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Client(t), combat.Config{})
	s := w.start(t, ann, "training-dummy")
	room := "combat:" + s.CombatID
	again := ann
	again.Conn = "conn-ann-2"
	_, err := w.State(t.Context(), again, combat.StateRequest{CombatID: s.CombatID})
	require.NoError(t, err)
	require.True(t, w.rooms.has(again.Conn, room))

	got, err := w.State(t.Context(), bob, combat.StateRequest{CombatID: s.CombatID})
	require.NoError(t, err)
	require.Equal(t, s.CombatID, got.CombatID)
	require.False(t, w.rooms.has(bob.Conn, room), "a spectator who reads the state does not join the room")

	_, err = w.act(ann, s.CombatID, "flee")
	require.NoError(t, err)
	_, err = w.State(t.Context(), again, combat.StateRequest{CombatID: s.CombatID})
	require.NoError(t, err)
	require.False(t, w.rooms.has(again.Conn, room), "a connection leaves the room of a fight that has ended")
}

// A connection does not receive the turns that are played while it joins: the answer contains them.
func TestAStateIsReadAfterTheJoin(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Client(t), combat.Config{})
	s := w.start(t, ann, "training-dummy")
	again := ann
	again.Conn = "conn-ann-2"
	turn := s.Turn
	w.rooms.beforeJoin = func() {
		out, err := w.act(ann, s.CombatID, "attack")
		require.NoError(t, err)
		turn = out.State.Turn
	}
	got, err := w.State(t.Context(), again, combat.StateRequest{CombatID: s.CombatID})
	require.NoError(t, err)
	require.Greater(t, turn, s.Turn)
	require.Equal(t, turn, got.Turn)

	again.Conn = "conn-ann-3"
	list, err := w.List(t.Context(), again, event.None{})
	require.NoError(t, err)
	require.Equal(t, turn, list.Combats[0].Turn)

	w.rooms.beforeJoin = func() {
		_, err := w.act(ann, s.CombatID, "flee")
		require.NoError(t, err)
	}
	again.Conn = "conn-ann-4"
	got, err = w.State(t.Context(), again, combat.StateRequest{CombatID: s.CombatID})
	require.NoError(t, err)
	require.Equal(t, combat.Ended, got.Status)
	require.False(t, w.rooms.has(again.Conn, "combat:"+s.CombatID))
}

func TestCallersWithoutASocket(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Client(t), combat.Config{})
	web := ann
	web.Conn = ""
	s := w.start(t, web, "training-dummy")
	_, err := w.State(t.Context(), web, combat.StateRequest{CombatID: s.CombatID})
	require.NoError(t, err)
	require.Empty(t, w.rooms.in)
	_, err = w.act(web, s.CombatID, "attack")
	require.NoError(t, err)
	_, err = w.act(web, s.CombatID, "flee")
	require.NoError(t, err)
	require.Len(t, w.rooms.told(), 3, "the members of the room receive the events of a caller without a connection")
}

func TestAPlayerHasFiveFightsAtMost(t *testing.T) {
	t.Parallel()
	ago := time.Duration(0)
	w := node(t, redistest.Client(t), combat.Config{Now: func() time.Time { return time.Now().Add(-ago) }})
	ago = time.Minute
	var ids []string
	for range 5 {
		ids = append(ids, w.start(t, ann, "training-dummy").CombatID)
	}
	_, err := w.Start(t.Context(), ann, combat.StartRequest{NPC: "wolf"})
	require.ErrorIs(t, err, combat.ErrTooManyFights)
	require.Equal(t, 5, fault.Of(err).Detail("limit"))
	require.ElementsMatch(t, ids, fault.Of(err).Detail("combats"))
	w.start(t, bob, "wolf")

	_, err = w.act(ann, ids[0], "flee")
	require.NoError(t, err)
	w.start(t, ann, "wolf")

	ago = 0
	require.NoError(t, w.rdb.Del(t.Context(), keys.Combat(ids[1])).Err()) // as when its TTL runs out
	s := w.start(t, ann, "goblin")
	_, err = w.Start(t.Context(), ann, combat.StartRequest{NPC: "wolf"})
	require.ErrorIs(t, err, combat.ErrTooManyFights)

	require.NoError(t, w.rdb.Del(t.Context(), keys.Combat(s.CombatID)).Err())
	_, err = w.Start(t.Context(), ann, combat.StartRequest{NPC: "wolf"})
	require.ErrorIs(t, err, combat.ErrTooManyFights, "a fight this young may not have been written yet")
}

func TestAPlaceThatWasNotGivenBackIsFound(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Client(t), combat.Config{MaxFights: 1})
	s := w.start(t, ann, "training-dummy")
	_, err := w.act(ann, s.CombatID, "flee")
	require.NoError(t, err)
	require.NoError(t, w.rdb.ZAdd(t.Context(), keys.UserCombats("ann"), redis.Z{Member: s.CombatID}).Err())
	w.start(t, ann, "goblin")
}

func TestTellingMayFailTheActionStands(t *testing.T) {
	t.Parallel()
	var reported []error
	w := node(t, redistest.Client(t), combat.Config{Report: func(err error) { reported = append(reported, err) }})
	s := w.start(t, ann, "training-dummy")
	w.rooms.fail = errors.New("no room")
	out, err := w.act(ann, s.CombatID, "flee")
	require.NoError(t, err)
	require.Equal(t, combat.Ended, out.State.Status)
	require.Equal(t, combat.Ended, w.state(t, s.CombatID).Status)
	require.Len(t, reported, 3) // the update, the end and the leave
	require.ErrorIs(t, reported[0], w.rooms.fail)
}

func TestWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	w := node(t, server.Client(), combat.Config{})
	id := w.start(t, ann, "training-dummy").CombatID
	server.Kill()
	for name, ask := range map[string]func() error{
		"start":  func() error { _, err := w.Start(t.Context(), ann, combat.StartRequest{NPC: "goblin"}); return err },
		"action": func() error { _, err := w.act(ann, id, "attack"); return err },
		"state":  func() error { _, err := w.State(t.Context(), ann, combat.StateRequest{CombatID: id}); return err },
	} {
		err := ask()
		require.ErrorIs(t, err, fault.ErrUnavailable, name)
		require.Equal(t, "combat", fault.Of(err).Detail("feature"))
		require.Equal(t, int64(1000), fault.Of(err).Detail("retryAfterMs"))
	}
	require.Empty(t, w.rooms.told())

	server.Restart()
	_, err := w.act(ann, id, "attack")
	require.ErrorIs(t, err, fault.ErrNotFound, "a Redis that lost everything decides, not what this node remembers")
	w.start(t, ann, "goblin")
}

func TestRedisThatOnlyReads(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb := server.Client()
	w := node(t, rdb, combat.Config{})
	id := w.start(t, ann, "training-dummy").CombatID
	require.NoError(t, rdb.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err())
	_, err := w.act(ann, id, "attack")
	require.ErrorIs(t, err, fault.ErrUnavailable)
	_, err = w.Start(t.Context(), ann, combat.StartRequest{NPC: "goblin"})
	require.ErrorIs(t, err, fault.ErrUnavailable)
}

func TestWhatIsNoFightIsAnError(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Client(t), combat.Config{})
	for name, fields := range map[string][]any{
		"no JSON": {"version", "1", "state", "{", "seed", "1"},
		"no seed": {"version", "1", "state", "{}"},
	} {
		id := "01J0000000000000000000000Y"
		require.NoError(t, w.rdb.Del(t.Context(), keys.Combat(id)).Err())
		require.NoError(t, w.rdb.HSet(t.Context(), keys.Combat(id), fields...).Err())
		_, err := w.act(ann, id, "attack")
		require.Equal(t, "INTERNAL", fault.Of(err).Code, name)
	}
	id := "01J0000000000000000000000Z"
	require.NoError(t, w.rdb.Set(t.Context(), keys.Combat(id), "x", 0).Err())
	_, err := w.act(ann, id, "attack")
	require.Equal(t, "INTERNAL", fault.Of(err).Code, "a wrong type is our error, not an outage of Redis")
}

func TestLimits(t *testing.T) {
	t.Parallel()
	limits := map[string][]string{}
	for _, r := range combat.New(nil, nil, combat.Config{}).Routes() {
		limits[r.Name] = r.Limits
	}
	require.Equal(t, map[string][]string{
		"combat:start": {"rooms"}, "combat:accept": {"rooms"}, "combat:decline": {"rooms"}, "combat:duels": {"rooms"},
		"combat:action": {"combat"}, "combat:state": {"reads"}, "combat:list": {"reads"},
	}, limits)
}
