package combat

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/aeturnis/realtime/fault"
)

// hero is a player, as a fight begins.
var hero = Participant{ID: "c1", Kind: "player", UserID: "u1", CharacterID: "c1", Name: "Ann", Stats: demo}

func against(kind string, seed uint64) State { return begin("F", seed, 1000, hero, kind) }

// Whatever is tried, in whatever order, the invariants hold, and the log replays to the
// very state.
func TestNoSequenceBreaksAFight(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		base := against(rapid.SampledFrom(NPCs()).Draw(t, "npc"), rapid.Uint64().Draw(t, "seed"))
		state, log, now := base, []byte(nil), base.StartedAt
		for range rapid.IntRange(1, 200).Draw(t, "moves") {
			now += rapid.Int64Range(-5, 1000).Draw(t, "pause") // clocks step back
			m := Move{
				By:     rapid.SampledFrom([]int{0, 0, 0, 0, 1, -1, 2}).Draw(t, "by"),
				Action: rapid.SampledFrom([]string{Attack, Attack, Defend, Skill, Skill, Flee, "mend", ""}).Draw(t, "action"),
				Target: rapid.SampledFrom([]int{1, 1, 1, 1, 0, -1, 2}).Draw(t, "target"),
				At:     now,
			}
			before := string(state.AppendJSON(nil))
			next, what, err := Apply(state, m)
			require.Equal(t, before, string(state.AppendJSON(nil)), "the state that was given is left alone")
			if err != nil {
				require.NotEqual(t, "INTERNAL", fault.Of(err).Code)
				continue
			}
			checkTurn(t, state, next, what)
			log = appendMove(log, m, base.StartedAt)
			state = next
		}
		again, err := Replay(base, string(log))
		require.NoError(t, err)
		require.Equal(t, state, again)
	})
}

func checkTurn(t require.TestingT, before, after State, what Event) {
	require.Equal(t, Active, before.Status, "nothing happens after the end")
	require.Equal(t, before.Version+1, after.Version)
	require.GreaterOrEqual(t, after.UpdatedAt, before.UpdatedAt)
	hp := map[string]int{}
	for _, p := range before.Participants {
		hp[p.ID] = p.HP
	}
	for _, a := range what.Acts {
		require.Positive(t, hp[a.By], "the dead do nothing: %+v", what)
		require.NotEqual(t, a.By, a.Target)
		require.GreaterOrEqual(t, a.Damage, 0)
		require.GreaterOrEqual(t, a.Healed, 0)
		hp[a.By] += a.Healed
		if a.Target != "" {
			hp[a.Target] -= a.Damage
		}
	}
	living := 0
	for _, p := range after.Participants {
		require.Equal(t, hp[p.ID], p.HP, "the event tells all that happened")
		require.GreaterOrEqual(t, p.HP, 0)
		require.LessOrEqual(t, p.HP, p.MaxHP)
		require.GreaterOrEqual(t, p.Energy, 0)
		require.LessOrEqual(t, p.Energy, p.MaxEnergy)
		if p.HP > 0 {
			living++
		}
	}
	if after.Status == Active {
		require.Equal(t, 2, living)
		require.Empty(t, after.Winner)
		return
	}
	require.Positive(t, hp[after.Winner], "the winner lives")
	require.Equal(t, after.Outcome == Fled, living == 2)
}

func TestRefusedMoves(t *testing.T) {
	t.Parallel()
	change := func(f func(*State)) State {
		s := against("goblin", 1)
		f(&s)
		return s
	}
	for name, c := range map[string]struct {
		state       State
		move        Move
		code, field string
	}{
		"after the end":       {change(func(s *State) { s.Status = Ended }), Move{Action: Attack, Target: 1}, "COMBAT_OVER", ""},
		"the NPC's move":      {against("goblin", 1), Move{By: 1, Action: Attack}, "FORBIDDEN", ""},
		"nobody's move":       {against("goblin", 1), Move{By: 2, Action: Attack, Target: 1}, "FORBIDDEN", ""},
		"the dead":            {change(func(s *State) { s.Participants[0].HP = 0 }), Move{Action: Defend}, "FORBIDDEN", ""},
		"no such action":      {against("goblin", 1), Move{Action: "dance", Target: 1}, "INVALID", "action"},
		"what only NPCs do":   {against("goblin", 1), Move{Action: "mend", Target: 1}, "INVALID", "action"},
		"at oneself":          {against("goblin", 1), Move{Action: Attack}, "INVALID", "target"},
		"at nobody":           {against("goblin", 1), Move{Action: Skill, Target: -1}, "INVALID", "target"},
		"at a dead one":       {change(func(s *State) { s.Participants[1].HP = 0 }), Move{Action: Attack, Target: 1}, "INVALID", "target"},
		"without the energy":  {change(func(s *State) { s.Participants[0].Energy = 19 }), Move{Action: Skill, Target: 1}, "COMBAT_NO_ENERGY", ""},
		"before it is ready":  {change(func(s *State) { s.Participants[0].SkillTurn = 3 }), Move{Action: Skill, Target: 1}, "COMBAT_COOLDOWN", ""},
		"just when it is":     {change(func(s *State) { s.Participants[0].SkillTurn = 1 }), Move{Action: Skill, Target: 1}, "", ""},
		"with just enough":    {change(func(s *State) { s.Participants[0].Energy = 20 }), Move{Action: Skill, Target: 1}, "", ""},
		"defend needs no one": {against("goblin", 1), Move{Action: Defend, Target: -1}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := Apply(c.state, c.move)
			if c.code == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			require.Equal(t, c.code, fault.Of(err).Code)
			if c.field != "" {
				require.Equal(t, c.field, fault.Of(err).Detail("field"))
			}
		})
	}
}

func TestTheFasterActsFirst(t *testing.T) {
	t.Parallel()
	for kind, first := range map[string]string{"wolf": "npc:wolf", "goblin": "c1"} {
		seen := 0
		for seed := range uint64(50) {
			_, what, err := Apply(against(kind, seed), Move{Action: Attack, Target: 1})
			require.NoError(t, err)
			if what.Acts[0].Action == Defend || len(what.Acts) < 2 {
				continue // a guard is raised before anybody strikes
			}
			seen++
			require.Equal(t, first, what.Acts[0].By)
		}
		require.Positive(t, seen)
	}
}

func TestTheFasterMayKillBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		s := against("wolf", seed)
		s.Participants[0].HP = 1
		next, what, err := Apply(s, Move{Action: Attack, Target: 1})
		require.NoError(t, err)
		if what.Acts[0].Damage > 0 && what.Acts[0].By == "npc:wolf" {
			require.Len(t, what.Acts, 1, "the dead strike no more")
			require.Equal(t, "npc:wolf", next.Winner)
			require.Equal(t, Defeated, next.Outcome)
			return
		}
	}
	t.Fatal("the wolf never hit")
}

func TestAGuardHalvesTheDamage(t *testing.T) {
	t.Parallel()
	total := map[string]int{}
	for seed := range uint64(300) {
		for _, action := range []string{Attack, Defend} {
			next, _, err := Apply(against("wolf", seed), Move{Action: action, Target: 1})
			require.NoError(t, err)
			total[action] += 100 - next.Participants[0].HP
		}
	}
	ratio := float64(total[Defend]) / float64(total[Attack])
	require.InDelta(t, 0.5, ratio, 0.06)
}

func TestSkillCostsAndCools(t *testing.T) {
	t.Parallel()
	s, _, err := Apply(against("training-dummy", 1), Move{Action: Skill, Target: 1})
	require.NoError(t, err)
	require.Equal(t, 50-20+5, s.Participants[0].Energy)
	refused := 0
	for {
		if _, _, err = Apply(s, Move{Action: Skill, Target: 1}); err == nil {
			break
		}
		require.ErrorIs(t, err, ErrCooldown)
		require.EqualValues(t, 3-refused, fault.Of(err).Detail("turns"))
		refused++
		s, _, err = Apply(s, Move{Action: Defend})
		require.NoError(t, err)
	}
	require.Equal(t, 3, refused)
}

// The dummy can be beaten for as long as one likes, and beats nobody.
func TestTheTrainingDummyStands(t *testing.T) {
	t.Parallel()
	s, lowest := against("training-dummy", 7), 1000
	for range 5000 {
		action := Attack
		if s.Participants[0].SkillTurn <= s.Turn && s.Participants[0].Energy >= 20 {
			action = Skill
		}
		var err error
		s, _, err = Apply(s, Move{Action: action, Target: 1})
		require.NoError(t, err)
		lowest = min(lowest, s.Participants[1].HP)
	}
	require.Equal(t, Active, s.Status)
	require.Equal(t, 100, s.Participants[0].HP)
	require.Less(t, lowest, 600, "its wounds are seen")
	s, _, err := Apply(s, Move{Action: Flee})
	require.NoError(t, err)
	require.Equal(t, Ended, s.Status)
	require.Equal(t, Fled, s.Outcome)
	require.Equal(t, "npc:training-dummy", s.Winner)
}

// The goblin is for beginners, the wolf is not.
func TestFightsEnd(t *testing.T) {
	t.Parallel()
	won := map[string]int{}
	for _, kind := range []string{"goblin", "wolf"} {
		for seed := range uint64(500) {
			s := against(kind, seed)
			for s.Status == Active {
				var err error
				s, _, err = Apply(s, Move{Action: Attack, Target: 1})
				require.NoError(t, err)
				require.Less(t, s.Turn, int64(1000))
			}
			won[kind+" "+s.Winner]++
		}
	}
	require.Greater(t, won["goblin c1"], 450)
	require.Greater(t, won["wolf c1"], 50)
	require.Greater(t, won["wolf npc:wolf"], 50)
}

// A stored fight must replay on the next release too: when this fails, the rules or the
// dice have changed for fights that are running.
func TestTheDiceStayTheSame(t *testing.T) {
	t.Parallel()
	s, err := Replay(against("wolf", 42), "0a1+10;0s1+20;0d0+30;0a1+40;0f0+50;")
	require.NoError(t, err)
	require.Equal(t, golden, string(s.AppendJSON(nil)))
}

const golden = `{"combatId":"F","version":6,"status":"active","turn":6,"participants":[{"id":"c1","kind":"player","userId":"u1","characterId":"c1","name":"Ann","maxHp":100,"maxEnergy":50,"attack":20,"defense":8,"speed":10,"hp":49,"energy":50,"skillTurn":6},{"id":"npc:wolf","kind":"npc","name":"Wolf","maxHp":90,"maxEnergy":0,"attack":20,"defense":6,"speed":14,"hp":40,"energy":0,"skillTurn":0}],"startedAt":1000,"updatedAt":1050}`

func TestReplayRefusesWhatIsNoLog(t *testing.T) {
	t.Parallel()
	for name, log := range map[string]string{
		"no end": "0a1+1", "no action": "01+1;", "no time": "0a1;", "no index": "xa1+1;", "empty": ";", "letters": "0z1+1;",
		"a move that is not allowed": "1a0+1;", "out of range": "0a7+1;", "huge": "0a99999999999999999999+1;", "turned around": "+0a1;",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Replay(against("goblin", 1), log)
			require.Error(t, err)
		})
	}
	altered, err := Replay(against("goblin", 2), "0a1+1;0a1+2;")
	require.NoError(t, err)
	honest, err := Replay(against("goblin", 1), "0a1+1;0a1+2;")
	require.NoError(t, err)
	require.NotEqual(t, honest, altered, "another seed is another fight")
}

func TestAppendJSONIsWhatTheTagsSay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		str, num := rapid.String(), rapid.Int()
		part := func() Participant {
			return Participant{
				ID: str.Draw(t, "id"), Kind: str.Draw(t, "kind"), UserID: str.Draw(t, "user"), CharacterID: str.Draw(t, "character"), Name: str.Draw(t, "name"),
				Stats: Stats{num.Draw(t, "n"), num.Draw(t, "n"), num.Draw(t, "n"), num.Draw(t, "n"), num.Draw(t, "n")},
				HP:    num.Draw(t, "n"), Energy: num.Draw(t, "n"), SkillTurn: rapid.Int64().Draw(t, "n"),
			}
		}
		state := State{
			CombatID: str.Draw(t, "s"), Version: rapid.Int64().Draw(t, "n"), Status: str.Draw(t, "s"), Turn: rapid.Int64().Draw(t, "n"),
			Winner: str.Draw(t, "s"), Outcome: str.Draw(t, "s"), StartedAt: rapid.Int64().Draw(t, "n"), UpdatedAt: rapid.Int64().Draw(t, "n"), Seed: 7,
		}
		for range rapid.IntRange(0, 3).Draw(t, "participants") {
			state.Participants = append(state.Participants, part())
		}
		what := Event{Turn: rapid.Int64().Draw(t, "n"), By: str.Draw(t, "s"), Action: str.Draw(t, "s"), Target: str.Draw(t, "s")}
		for range rapid.IntRange(0, 3).Draw(t, "acts") {
			what.Acts = append(what.Acts, Act{str.Draw(t, "s"), str.Draw(t, "s"), str.Draw(t, "s"), str.Draw(t, "s"), num.Draw(t, "n"), num.Draw(t, "n")})
		}
		same := func(tags any, byHand []byte) {
			want, err := json.Marshal(tags)
			require.NoError(t, err)
			require.Equal(t, string(want), string(byHand))
		}
		same(state, state.AppendJSON(nil))
		same(Outcome{what, state}, Outcome{what, state}.AppendJSON(nil))
		update := &Update{"f", what, state}
		same(update, update.AppendJSON(nil))
		require.NotContains(t, strings.ToLower(string(update.AppendJSON(nil))), `"seed"`)
	})
}

func TestATurnAllocatesLittle(t *testing.T) {
	s, dst := against("goblin", 1), make([]byte, 0, 4096)
	s.Participants[1].HP, s.Participants[1].MaxHP = 1000, 1000
	require.LessOrEqual(t, testing.AllocsPerRun(200, func() {
		if _, _, err := Apply(s, Move{Action: Attack, Target: 1}); err != nil {
			t.Error(err)
		}
	}), 4.0)
	_, what, err := Apply(s, Move{Action: Attack, Target: 1})
	require.NoError(t, err)
	u := &Update{CombatID: "F", Event: what, State: s}
	require.Zero(t, testing.AllocsPerRun(200, func() { dst = u.AppendJSON(dst[:0]) }))
}

func BenchmarkApply(b *testing.B) {
	s := against("training-dummy", 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Apply(s, Move{Action: Attack, Target: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	s := against("goblin", 1)
	dst := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		dst = s.AppendJSON(dst[:0])
	}
}
