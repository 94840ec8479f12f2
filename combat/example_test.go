package combat_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/internal/redistest"
)

// Apply computes the next state from a state and a move, and an event that says what happened.
func ExampleApply() {
	state := combat.State{
		CombatID: "demo", Version: 1, Status: combat.Active, Turn: 1, Seed: 7,
		Participants: []combat.Participant{
			{ID: "ann", Kind: "player", UserID: "ann", HP: 100, Stats: combat.Stats{MaxHP: 100, Attack: 20, Defense: 8, Speed: 10}},
			{ID: "npc:goblin", Kind: "npc", HP: 60, Stats: combat.Stats{MaxHP: 60, Attack: 12, Defense: 4, Speed: 8}},
		},
	}
	next, what, err := combat.Apply(state, combat.Move{By: 0, Action: combat.Attack, Target: 1})
	fmt.Println(err)
	for _, a := range what.Acts {
		fmt.Println(a.By, a.Action, a.Target, a.Result, a.Damage)
	}
	for _, p := range next.Participants {
		fmt.Println(p.ID, p.HP, "of", p.MaxHP)
	}
	// Output:
	// <nil>
	// ann attack npc:goblin hit 19
	// npc:goblin attack ann critical 10
	// ann 90 of 100
	// npc:goblin 41 of 60
}

// Replay computes the current state of a fight from its log.
func ExampleReplay() {
	base := combat.State{
		CombatID: "demo", Version: 1, Status: combat.Active, Turn: 1, Seed: 42, StartedAt: 1_700_000_000_000,
		Participants: []combat.Participant{
			{ID: "ann", Kind: "player", HP: 100, Stats: combat.Stats{MaxHP: 100, Attack: 20, Defense: 8, Speed: 10}},
			{ID: "npc:goblin", Kind: "npc", HP: 60, Stats: combat.Stats{MaxHP: 60, Attack: 12, Defense: 4, Speed: 8}},
		},
	}
	state, err := combat.Replay(base, "0a1+800;0d0+1600;0a1+2400;")
	fmt.Println(err, state.Version, state.UpdatedAt)
	// Output: <nil> 4 1700000002400
}

func ExampleNPCs() {
	fmt.Println(combat.NPCs())
	// Output: [goblin training-dummy wolf]
}

// The service as the gateway uses it: a player starts a fight, strikes and flees. It needs a Redis,
// so it is a test and not an Example.
func TestExampleOfTheService(t *testing.T) {
	t.Parallel()
	gateway := newRooms() // in production, the gateway
	s := combat.New(redistest.Client(t), gateway, combat.Config{})
	ctx := context.Background()

	fight, err := s.Start(ctx, ann, combat.StartRequest{NPC: "training-dummy"})
	require.NoError(t, err)
	_, err = s.Act(ctx, ann, combat.Action{CombatID: fight.CombatID, Action: combat.Attack})
	require.NoError(t, err)
	out, err := s.Act(ctx, ann, combat.Action{CombatID: fight.CombatID, Action: combat.Flee})
	require.NoError(t, err)
	require.Equal(t, combat.Ended, out.State.Status)
	require.Len(t, gateway.told(), 3) // two updates and the ending
}
