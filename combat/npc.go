package combat

import (
	"maps"
	"slices"
)

// npc is a kind of opponent that the server plays.
type npc struct {
	name  string
	stats Stats
	// guard is in how many of 100 turns it defends instead of striking.
	guard int
	// mends says that it never strikes; below half of its hp it restores itself instead,
	// so that it can be beaten for ever.
	mends bool
}

// npcs is the table of opponents; the name on the left is what combat:start takes. A
// strike takes less than three times its attacker's attack: keep half of the hp of one that
// mends above that.
var npcs = map[string]npc{
	"training-dummy": {name: "Training dummy", mends: true, stats: Stats{MaxHP: 1000}},
	"goblin":         {name: "Goblin", guard: 20, stats: Stats{MaxHP: 60, Attack: 12, Defense: 4, Speed: 8}},
	"wolf":           {name: "Wolf", guard: 5, stats: Stats{MaxHP: 90, Attack: 20, Defense: 6, Speed: 14}},
}

// demo are the stats of every player, until characters have their own.
var demo = Stats{MaxHP: 100, MaxEnergy: 50, Attack: 20, Defense: 8, Speed: 10}

// npcID comes before an NPC's name in its participant id.
const npcID = "npc:"

// NPCs are the names that combat:start takes.
func NPCs() []string { return slices.Sorted(maps.Keys(npcs)) }

// begin is the state in which a fight of player against an NPC starts.
func begin(id string, seed uint64, at int64, player Participant, kind string) State {
	n := npcs[kind]
	foe := Participant{ID: npcID + kind, Kind: "npc", Name: n.name, Stats: n.stats}
	s := State{
		CombatID: id, Version: 1, Status: Active, Turn: 1, Seed: seed, StartedAt: at, UpdatedAt: at,
		Participants: []Participant{player, foe},
	}
	for i := range s.Participants {
		s.Participants[i].HP = s.Participants[i].MaxHP
		s.Participants[i].Energy = s.Participants[i].MaxEnergy
	}
	return s
}
