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
	// guard is in how many of 100 turns it defends instead of striking.
	guard int
	// mends says that it never strikes and never dies; below half of its hp it restores
	// itself instead, so that it can be beaten for ever.
	mends bool
	// prize is what defeating it is worth.
	prize prize
}

// A prize is what a victory is worth.
type prize struct {
	items  []Item
	gold   int64
	points int64 // on the leaderboards
}

// npcs is the table of opponents; the name on the left is what combat:start takes.
var npcs = map[string]npc{
	"training-dummy": {name: "Training dummy", mends: true, stats: Stats{MaxHP: 1000}},
	"goblin": {
		name: "Goblin", guard: 20, stats: Stats{MaxHP: 60, Attack: 12, Defense: 4, Speed: 8},
		prize: prize{gold: 5, points: 1},
	},
	"wolf": {
		name: "Wolf", guard: 5, stats: Stats{MaxHP: 90, Attack: 20, Defense: 6, Speed: 14},
		prize: prize{items: []Item{{"wolf-pelt", 1}}, gold: 15, points: 3},
	},
}

// duelPrize is what the victory over another player is worth.
var duelPrize = prize{gold: 10, points: 10}

// prizeOf is what an ended fight is worth to its winner: something only when that is a
// player and the opponent was defeated.
func (s *State) prizeOf() (winner *Participant, won prize) {
	for i := range s.Participants {
		p := &s.Participants[i]
		if s.Outcome != Defeated || p.ID != s.Winner || p.Kind != kindPlayer {
			continue
		}
		if s.duel() {
			return p, duelPrize
		}
		for j := range s.Participants {
			if foe := &s.Participants[j]; foe.Kind == kindNPC {
				return p, foe.kind().prize
			}
		}
	}
	return nil, prize{}
}

// Usual are the stats of a player of whose character nothing is known.
var Usual = Stats{MaxHP: 100, MaxEnergy: 50, Attack: 20, Defense: 8, Speed: 10}

// npcID comes before an NPC's name in its participant id.
const npcID = "npc:"

// kind is the NPC's entry in the table; for players it is empty.
func (p *Participant) kind() npc {
	if p.Kind != kindNPC {
		return npc{}
	}
	return npcs[strings.TrimPrefix(p.ID, npcID)]
}

// NPCs are the names that combat:start takes.
func NPCs() []string { return slices.Sorted(maps.Keys(npcs)) }

// opponentOf is how an NPC enters a fight.
func opponentOf(kind string) Participant {
	n := npcs[kind]
	return Participant{ID: npcID + kind, Kind: kindNPC, Name: n.name, Stats: n.stats}
}

// begin is the state in which a fight starts.
func begin(id string, seed uint64, at int64, fighters ...Participant) State {
	s := State{
		CombatID: id, Version: 1, Status: Active, Turn: 1, Seed: seed, StartedAt: at, UpdatedAt: at,
		Participants: fighters,
	}
	for i := range s.Participants {
		p := &s.Participants[i]
		p.Stats = p.Stats.bounded()
		p.HP, p.Energy = p.MaxHP, p.MaxEnergy
		if p.Kind == kindPlayer {
			p.NextActionAt = at
		}
	}
	return s
}

// bounded keeps what a source says within what the rules can count with.
func (s Stats) bounded() Stats {
	const most = 1_000_000
	within := func(n, least int) int { return min(most, max(least, n)) }
	return Stats{within(s.MaxHP, 1), within(s.MaxEnergy, 0), within(s.Attack, 0), within(s.Defense, 0), within(s.Speed, 0)}
}
