package combat

import (
	"maps"
	"slices"
	"strings"
)

// npc is a kind of opponent that the server plays.
type npc struct {
	name  string
	stats Stats
	// guard is in how many of 100 turns the NPC defends instead of striking.
	guardPercent int
	// mends means that the NPC never strikes and never dies: below half of its hp it heals itself
	// completely, so that players can train on it for as long as they like.
	isUnbeatable bool
	// prize is what a player gets who defeats the NPC.
	prize prize
}

// A prize is what a victory is worth.
type prize struct {
	items  []Item
	gold   int64
	points int64 // on the leaderboards
}

// npcs is the table of opponents. Its keys are the names that combat:start takes.
var npcs = map[string]npc{
	"training-dummy": {name: "Training dummy", isUnbeatable: true, stats: Stats{MaxHP: 1000}},
	"goblin": {
		name: "Goblin", guardPercent: 20, stats: Stats{MaxHP: 60, Attack: 12, Defense: 4, Speed: 8},
		prize: prize{gold: 5, points: 1},
	},
	"wolf": {
		name: "Wolf", guardPercent: 5, stats: Stats{MaxHP: 90, Attack: 20, Defense: 6, Speed: 14},
		prize: prize{items: []Item{{"wolf-pelt", 1}}, gold: 15, points: 3},
	},
}

// duelPrize is what a player gets who defeats another player.
var duelPrize = prize{gold: 10, points: 10}

// winnerAndPrize returns the winner of an ended fight and what they won. The winner is nil
// unless a player defeated the opponent.
func (s *State) winnerAndPrize() (winner *Participant, won prize) {
	for i := range s.Participants {
		p := &s.Participants[i]
		if s.Outcome != Defeated || p.ID != s.Winner || p.Kind != kindPlayer {
			continue
		}
		if s.isDuel() {
			return p, duelPrize
		}
		for j := range s.Participants {
			if foe := &s.Participants[j]; foe.Kind == kindNPC {
				return p, foe.npcDefinition().prize
			}
		}
	}
	return nil, prize{}
}

// DefaultStats are the stats of a player about whose character nothing is known.
var DefaultStats = Stats{MaxHP: 100, MaxEnergy: 50, Attack: 20, Defense: 8, Speed: 10}

// npcIDPrefix is the prefix of an NPC's participant id; its name follows.
const npcIDPrefix = "npc:"

// npcDefinition returns the NPC's entry in the table, and an empty one for a player.
func (p *Participant) npcDefinition() npc {
	if p.Kind != kindNPC {
		return npc{}
	}
	return npcs[strings.TrimPrefix(p.ID, npcIDPrefix)]
}

// NPCs returns the names of opponents that combat:start takes, sorted.
func NPCs() []string { return slices.Sorted(maps.Keys(npcs)) }

// newNPCParticipant makes the participant of an NPC; name is its key in the table.
func newNPCParticipant(name string) Participant {
	n := npcs[name]
	return Participant{ID: npcIDPrefix + name, Kind: kindNPC, Name: n.name, Stats: n.stats}
}

// newFightState makes the state in which a fight starts, at a time in Unix ms.
func newFightState(id string, seed uint64, at int64, fighters ...Participant) State {
	s := State{
		CombatID: id, Version: 1, Status: Active, Turn: 1, Seed: seed, StartedAt: at, UpdatedAt: at,
		Participants: fighters,
	}
	for i := range s.Participants {
		p := &s.Participants[i]
		p.Stats = p.Stats.withinBounds()
		p.HP, p.Energy = p.MaxHP, p.MaxEnergy
		if p.Kind == kindPlayer {
			p.NextActionAt = at
		}
	}
	return s
}

// withinBounds limits what a source of characters says to what the rules can calculate with.
func (s Stats) withinBounds() Stats {
	const most = 1_000_000
	within := func(n, least int) int { return min(most, max(least, n)) }
	return Stats{within(s.MaxHP, 1), within(s.MaxEnergy, 0), within(s.Attack, 0), within(s.Defense, 0), within(s.Speed, 0)}
}
