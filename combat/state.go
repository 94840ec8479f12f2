package combat

// The status of a fight.
const (
	Active = "active"
	Ended  = "ended"
)

// How a fight ended.
const (
	Defeated = "defeated" // all opponents of the winner are at 0 hp
	Fled     = "fled"     // the loser ran away
	// Abandoned is a fight in which nobody moved for too long. Nobody won.
	Abandoned = "abandoned"
)

// The kinds of participants.
const (
	kindPlayer = "player"
	kindNPC    = "npc"
)

// State is a fight as everybody may see it. Values are snapshots: nothing writes to
// Participants of a State that somebody else may hold.
type State struct {
	CombatID string `json:"combatId"`
	// Version is 1 at the start and one more after each change: of two states of a fight
	// the one with the higher version is the newer.
	Version int64  `json:"version"`
	Status  string `json:"status"` // active or ended
	// Turn is the round that comes next, from 1.
	Turn         int64         `json:"turn"`
	Participants []Participant `json:"participants"`
	Winner       string        `json:"winner,omitempty"`  // a participant's id, once ended
	Outcome      string        `json:"outcome,omitempty"` // defeated, fled or abandoned, once ended
	StartedAt    int64         `json:"startedAt"`         // Unix ms
	UpdatedAt    int64         `json:"updatedAt"`         // Unix ms

	// Seed is where all chance in this fight comes from. Players never see it, since it
	// tells what is going to happen.
	Seed uint64 `json:"-"`
}

// Participant is one of those who fight. Who started the fight comes first.
type Participant struct {
	ID          string `json:"id"`   // the character's id, else the user's; "npc:" and a name for an NPC
	Kind        string `json:"kind"` // player or npc
	UserID      string `json:"userId,omitempty"`
	CharacterID string `json:"characterId,omitempty"`
	Name        string `json:"name"`
	Stats
	HP     int `json:"hp"`     // 0 to MaxHP; at 0 it is dead, and does nothing any more
	Energy int `json:"energy"` // 0 to MaxEnergy; what a skill costs
	// SkillTurn is the first turn in which the skill may be used again.
	SkillTurn int64 `json:"skillTurn"`
	// Guarding says that strikes against it do half the damage, until its next move.
	Guarding bool `json:"guarding"`
	// NextActionAt is when a player may move again, Unix ms; 0 for an NPC.
	NextActionAt int64 `json:"nextActionAt"`
}

// Stats are what does not change during a fight.
type Stats struct {
	MaxHP     int `json:"maxHp"`
	MaxEnergy int `json:"maxEnergy"`
	Attack    int `json:"attack"`
	Defense   int `json:"defense"`
	Speed     int `json:"speed"`
}

// Event is what happened in one turn.
type Event struct {
	Turn   int64  `json:"turn"`
	By     string `json:"by"`     // whose move it was: a participant's id; empty for a timeout
	Action string `json:"action"` // attack, defend, skill or flee; timeout when the fight was abandoned
	Target string `json:"target,omitempty"`
	Acts   []Act  `json:"acts"` // all that was done, the answer too, in the order in which it happened
}

// Act is one thing that one participant did in a turn.
type Act struct {
	By     string `json:"by"`
	Action string `json:"action"` // attack, defend, skill, flee or mend
	Target string `json:"target,omitempty"`
	Result string `json:"result"`          // hit, critical, miss, guard, fled, caught or mended
	Damage int    `json:"damage,omitzero"` // hp that the target lost
	Healed int    `json:"healed,omitzero"` // hp that the participant got back
}

// Outcome answers an action.
type Outcome struct {
	Event Event `json:"event"`
	State State `json:"state"`
}

// Update is what everybody in the fight's room is sent, as the event combat:update.
type Update struct {
	CombatID string `json:"combatId"`
	Event    Event  `json:"event"`
	State    State  `json:"state"`
}

// Ending is what everybody in the fight's room is sent last, as the event combat:ended.
type Ending struct {
	CombatID string  `json:"combatId"`
	Winner   string  `json:"winner"`  // a participant's id; empty when nobody won
	Outcome  string  `json:"outcome"` // defeated, fled or abandoned
	Rewards  Rewards `json:"rewards"` // what the winner got
	Version  int64   `json:"version"` // of the fight's last state
}

// Started is what the users of a fight between players are sent first, as the event
// combat:started.
type Started struct {
	CombatID string `json:"combatId"`
	State    State  `json:"state"`
}

// Rewards are what the winner of a fight gets.
type Rewards struct {
	Items []Item `json:"items"`
	Gold  int64  `json:"gold"`
}

// None tells whether there is nothing in it.
func (r Rewards) None() bool { return len(r.Items) == 0 && r.Gold == 0 }

// Item is a quantity of one thing.
type Item struct {
	ItemID string `json:"itemId"`
	Qty    int64  `json:"qty"`
}
