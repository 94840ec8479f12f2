package combat

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A stored fight must replay on the next release too. If this test fails, the rules or the dice
// have changed for fights that are running.
func TestTheDiceStayTheSame(t *testing.T) {
	t.Parallel()
	s, err := Replay(against("wolf", 42), "0a1+10;0s1+20;0d0+30;0a1+40;0f0+50;")
	require.NoError(t, err)
	require.Equal(t, golden, string(s.AppendJSON(nil)))
}

const golden = `{"combatId":"F","version":6,"status":"active","turn":6,"participants":[{"id":"c1","kind":"player","userId":"u1","characterId":"c1","name":"Ann","maxHp":100,"maxEnergy":50,"attack":20,"defense":8,"speed":10,"hp":49,"energy":50,"skillTurn":6,"guarding":false,"nextActionAt":1000},{"id":"npc:wolf","kind":"npc","name":"Wolf","maxHp":90,"maxEnergy":0,"attack":20,"defense":6,"speed":14,"hp":40,"energy":0,"skillTurn":0,"guarding":false,"nextActionAt":0}],"startedAt":1000,"updatedAt":1050}`

func TestReplayRefusesWhatIsNoLog(t *testing.T) {
	t.Parallel()
	for name, log := range map[string]string{
		"no end": "0a1+1", "no action": "01+1;", "no time": "0a1;", "no index": "xa1+1;", "empty": ";", "letters": "0z1+1;",
		"a timeout by somebody": "0t0+1;", "a move that is not allowed": "1a0+1;", "out of range": "0a7+1;", "huge": "0a99999999999999999999+1;", "turned around": "+0a1;",
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
	require.NotEqual(t, honest, altered, "another seed leads to another fight")
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
				Guarding: rapid.Bool().Draw(t, "guarding"), NextActionAt: rapid.Int64().Draw(t, "n"),
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
		for _, challenge := range []string{"", "c"} {
			started := &Started{"f", challenge, state}
			same(started, started.AppendJSON(nil))
		}
		same(state, StartAnswer{State: &state}.AppendJSON(nil))
		same(Challenged{"c", 30_000}, StartAnswer{Challenged: &Challenged{"c", 30_000}}.AppendJSON(nil))
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
