package combat

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/aeturnis/realtime/fault"
)

// hero is a player at the start of a fight.
var hero = Participant{ID: "c1", Kind: "player", UserID: "u1", CharacterID: "c1", Name: "Ann", Stats: DefaultStats}

func against(kind string, seed uint64) State {
	return newFightState("F", seed, 1000, hero, newNPCParticipant(kind))
}

// rival is another player at the start of a fight.
var rival = Participant{ID: "c2", Kind: "player", UserID: "u2", CharacterID: "c2", Name: "Bob", Stats: DefaultStats}

func duel(seed uint64) State { return newFightState("F", seed, 1000, hero, rival) }

// anyFight draws the start of a fight: against an NPC, or between two players with any stats.
func anyFight(t *rapid.T) State {
	seed := rapid.Uint64().Draw(t, "seed")
	if rapid.Bool().Draw(t, "npc") {
		s := against(rapid.SampledFrom(NPCs()).Draw(t, "kind"), seed)
		for i := range s.Participants { // also late in a fight, where NPCs do other things
			p := &s.Participants[i]
			p.HP = rapid.IntRange(1, p.MaxHP).Draw(t, "hp")
		}
		return s
	}
	a, b := hero, rival
	for _, p := range []*Participant{&a, &b} {
		stat := rapid.IntRange(-10, 200)
		p.Stats = Stats{stat.Draw(t, "hp"), stat.Draw(t, "energy"), stat.Draw(t, "attack"), stat.Draw(t, "defense"), stat.Draw(t, "speed")}
	}
	return newFightState("F", seed, 1000, a, b)
}

// Whatever moves are tried, in any order, the invariants hold, and the log replays to the same
// state.
func TestNoSequenceBreaksAFight(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		base := anyFight(t)
		state, log, now := base, []byte(nil), base.StartedAt
		for range rapid.IntRange(1, 200).Draw(t, "moves") {
			now += rapid.Int64Range(-5, 1000).Draw(t, "pause") // clocks can be set back
			m := Move{
				By:     rapid.SampledFrom([]int{0, 0, 0, 1, 1, 1, -1, 2}).Draw(t, "by"),
				Action: rapid.SampledFrom([]string{Attack, Attack, Attack, Attack, Defend, Skill, Skill, Flee, "mend", "timeout", ""}).Draw(t, "action"),
				Target: rapid.SampledFrom([]int{1, 1, 1, 0, 0, 0, -1, 2}).Draw(t, "target"),
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
	if before.isDuel() && what.Action != timeoutAction {
		require.Len(t, what.Acts, 1, "one move a turn")
		for i, p := range before.Participants {
			if p.ID == what.By {
				require.GreaterOrEqual(t, after.Participants[i].NextActionAt, p.NextActionAt+250, "a player waits after a move")
			}
		}
	}
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
	if after.Status == Active || after.Outcome == Abandoned {
		require.Equal(t, 2, living)
		require.Empty(t, after.Winner)
		return
	}
	require.Positive(t, hp[after.Winner], "the winner is alive")
	require.Equal(t, after.Outcome == Fled, living == 2)
}

// The dummy heals itself completely below half of its hp, and not beyond its maximum.
func TestTheDummyMends(t *testing.T) {
	t.Parallel()
	state, mended := against("training-dummy", 1), 0
	for now := state.StartedAt; mended < 3; {
		now += 1000
		next, what, err := Apply(state, Move{Action: Attack, Target: 1, At: now})
		require.NoError(t, err)
		checkTurn(t, state, next, what)
		for _, a := range what.Acts {
			if a.Action == "mend" {
				mended++
				require.Equal(t, "mended", a.Result)
				require.Positive(t, a.Healed)
				require.Equal(t, 1000, next.Participants[1].HP)
			}
		}
		state = next
	}
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
		"after the end":                     {change(func(s *State) { s.Status = Ended }), Move{Action: Attack, Target: 1}, "COMBAT_OVER", ""},
		"the NPC's move":                    {against("goblin", 1), Move{By: 1, Action: Attack}, "FORBIDDEN", ""},
		"nobody's move":                     {against("goblin", 1), Move{By: 2, Action: Attack, Target: 1}, "FORBIDDEN", ""},
		"the dead":                          {change(func(s *State) { s.Participants[0].HP = 0 }), Move{Action: Defend}, "FORBIDDEN", ""},
		"no such action":                    {against("goblin", 1), Move{Action: "dance", Target: 1}, "INVALID", "action"},
		"what only NPCs do":                 {against("goblin", 1), Move{Action: "mend", Target: 1}, "INVALID", "action"},
		"at oneself":                        {against("goblin", 1), Move{Action: Attack}, "INVALID", "target"},
		"at nobody":                         {against("goblin", 1), Move{Action: Skill, Target: -1}, "INVALID", "target"},
		"at a dead one":                     {change(func(s *State) { s.Participants[1].HP = 0 }), Move{Action: Attack, Target: 1}, "INVALID", "target"},
		"without the energy":                {change(func(s *State) { s.Participants[0].Energy = 19 }), Move{Action: Skill, Target: 1}, "COMBAT_NO_ENERGY", ""},
		"before it is ready":                {change(func(s *State) { s.Participants[0].SkillTurn = 3 }), Move{Action: Skill, Target: 1}, "COMBAT_COOLDOWN", ""},
		"a timeout of somebody":             {against("goblin", 1), Move{Action: "timeout"}, "INVALID", "action"},
		"too soon":                          {change(func(s *State) { *s = duel(1); s.Participants[0].NextActionAt = 2000 }), Move{Action: Flee, At: 1999}, "COMBAT_TOO_SOON", ""},
		"in time":                           {change(func(s *State) { *s = duel(1); s.Participants[0].NextActionAt = 2000 }), Move{Action: Flee, At: 2000}, "", ""},
		"any time, against one who answers": {against("goblin", 1), Move{Action: Flee, At: 0}, "", ""},
		"just when it is":                   {change(func(s *State) { s.Participants[0].SkillTurn = 1 }), Move{Action: Skill, Target: 1}, "", ""},
		"with just enough":                  {change(func(s *State) { s.Participants[0].Energy = 20 }), Move{Action: Skill, Target: 1}, "", ""},
		"defend needs no one":               {against("goblin", 1), Move{Action: Defend, Target: -1}, "", ""},
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
			require.Len(t, what.Acts, 1, "the dead do not strike")
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

// A guard holds against every strike until its owner moves.
func TestAGuardLastsUntilTheNextMove(t *testing.T) {
	t.Parallel()
	at := int64(1000)
	play := func(s State, m Move) State {
		at += 1000
		m.At = at
		s, _, err := Apply(s, m)
		require.NoError(t, err)
		return s
	}
	s := play(duel(1), Move{By: 0, Action: Defend})
	for range 3 {
		s = play(s, Move{By: 1, Action: Defend})
		require.True(t, s.Participants[0].Guarding)
	}
	total := map[bool]int{}
	for seed := range uint64(300) {
		for _, guarded := range []bool{true, false} {
			s.Seed, s.Participants[0].Guarding = seed, guarded
			total[guarded] += s.Participants[0].HP - play(s, Move{By: 1, Action: Attack, Target: 0}).Participants[0].HP
		}
	}
	require.InDelta(t, 0.5, float64(total[true])/float64(total[false]), 0.06)
	require.False(t, play(s, Move{By: 0, Action: Attack, Target: 1}).Participants[0].Guarding)
}

// Between players, speed decides how soon a player may move again.
func TestInitiative(t *testing.T) {
	t.Parallel()
	quick, slow := hero, rival
	quick.Speed, slow.Speed = 20, 5
	s := newFightState("F", 1, 10_000, quick, slow)
	require.EqualValues(t, 10_000, s.Participants[0].NextActionAt)
	require.EqualValues(t, 10_000, s.Participants[1].NextActionAt, "both may move at the start")
	s, _, err := Apply(s, Move{By: 0, Action: Defend, At: 10_000})
	require.NoError(t, err)
	after, _, err := Apply(s, Move{By: 1, Action: Defend, At: 10_000})
	require.NoError(t, err)
	require.EqualValues(t, 11_000, after.Participants[1].NextActionAt)
	require.EqualValues(t, 10_250, s.Participants[0].NextActionAt)
	_, _, err = Apply(s, Move{By: 0, Action: Defend, At: 10_200})
	require.ErrorIs(t, err, ErrTooSoon)
	require.EqualValues(t, 50, fault.Of(err).Detail("retryAfterMs"))
	require.EqualValues(t, 10_250, fault.Of(err).Detail("nextActionAt"))

	for speed, ms := range map[int]int64{-1: 2000, 0: 2000, 1: 2000, 10: 500, 1000: 250} {
		require.Equal(t, ms, pauseAfterAction(speed), speed)
	}
}

func TestPrizes(t *testing.T) {
	t.Parallel()
	ended := func(s State, winner, outcome string) State {
		s.Status, s.Winner, s.Outcome = Ended, winner, outcome
		return s
	}
	for name, c := range map[string]struct {
		state State
		want  prize
	}{
		"a goblin":           {ended(against("goblin", 1), "c1", Defeated), prize{gold: 5, points: 1}},
		"a wolf":             {ended(against("wolf", 1), "c1", Defeated), prize{items: []Item{{"wolf-pelt", 1}}, gold: 15, points: 3}},
		"a player":           {ended(duel(1), "c2", Defeated), prize{gold: 10, points: 10}},
		"one who ran":        {ended(duel(1), "c2", Fled), prize{}},
		"the wolf's victory": {ended(against("wolf", 1), "npc:wolf", Defeated), prize{}},
		"nobody's":           {ended(duel(1), "", Abandoned), prize{}},
	} {
		_, got := c.state.winnerAndPrize()
		require.Equal(t, c.want, got, name)
	}
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

// A player can strike the training dummy for ever, and it never strikes back.
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
	require.Less(t, lowest, 600, "the dummy shows its wounds before it heals")
	s, _, err := Apply(s, Move{Action: Flee})
	require.NoError(t, err)
	require.Equal(t, Ended, s.Status)
	require.Equal(t, Fled, s.Outcome)
	require.Equal(t, "npc:training-dummy", s.Winner)
}

// A player who only attacks nearly always defeats the goblin, and sometimes the wolf.
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
