package combat

// The values of State.Status.
const (
	Active = "active"
	Ended  = "ended"
)

// The values of State.Outcome.
const (
	Defeated  = "defeated"  // all opponents of the winner are at 0 hp
	Fled      = "fled"      // the loser ran away
	Abandoned = "abandoned" // nobody moved for too long, and nobody won
)

// The values of Participant.Kind.
const (
	kindPlayer = "player"
	kindNPC    = "npc"
)

// State is a fight as players see it.
type State struct {
	CombatID string `json:"combatId"`
	// Version is 1 at the start and grows by one with each change: of two states of a fight, the
	// one with the higher version is newer.
	Version int64  `json:"version"`
	Status  string `json:"status"` // active or ended
	// Turn is the number of the next turn, from 1.
	Turn         int64         `json:"turn"`
	Participants []Participant `json:"participants"`
	// Winner is a participant's id; absent while the fight runs, and when nobody won.
	Winner string `json:"winner,omitempty"`
	// Outcome is defeated, fled or abandoned; absent while the fight runs.
	Outcome   string `json:"outcome,omitempty"`
	StartedAt int64  `json:"startedAt"` // Unix ms
	UpdatedAt int64  `json:"updatedAt"` // Unix ms

	// Seed determines all chance in this fight. Players never see it, because it tells what is
	// going to happen.
	Seed uint64 `json:"-"`
}

// Participant is one of the fighters. The player who started the fight comes first.
type Participant struct {
	// ID is the character's id, or the user's id when the player has chosen no character; for an
	// NPC it is "npc:" and its name.
	ID          string `json:"id"`
	Kind        string `json:"kind"` // player or npc
	UserID      string `json:"userId,omitempty"`
	CharacterID string `json:"characterId,omitempty"`
	Name        string `json:"name"`
	Stats
	HP     int `json:"hp"`     // 0 to MaxHP; at 0 the participant is dead and does nothing more
	Energy int `json:"energy"` // 0 to MaxEnergy; a skill costs 20
	// SkillTurn is the first turn in which the skill may be used again.
	SkillTurn int64 `json:"skillTurn"`
	// Guarding halves the damage of strikes against the participant, until its next move.
	Guarding bool `json:"guarding"`
	// NextActionAt is when a player may move again, Unix ms; 0 for an NPC.
	NextActionAt int64 `json:"nextActionAt"`
}

// Stats are the values of a fighter that do not change during a fight.
type Stats struct {
	MaxHP     int `json:"maxHp"`
	MaxEnergy int `json:"maxEnergy"`
	Attack    int `json:"attack"`
	Defense   int `json:"defense"`
	Speed     int `json:"speed"`
}

// Event is what happened in one turn.
type Event struct {
	Turn int64  `json:"turn"`
	By   string `json:"by"` // whose move it was: a participant's id; empty for a timeout
	// Action is attack, defend, skill or flee; timeout when the fight was abandoned.
	Action string `json:"action"`
	Target string `json:"target,omitempty"` // the id of the participant that attack and skill hit
	// Acts is everything that was done in this turn, in order, including what an NPC did.
	Acts []Act `json:"acts"`
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

// Outcome answers combat:action.
type Outcome struct {
	Event Event `json:"event"`
	State State `json:"state"`
}

// Update is sent to everybody who follows the fight, as the event combat:update.
type Update struct {
	CombatID string `json:"combatId"`
	Event    Event  `json:"event"`
	State    State  `json:"state"`
}

// Ending is sent to everybody who follows the fight, as its last event, combat:ended.
type Ending struct {
	CombatID string  `json:"combatId"`
	Winner   string  `json:"winner"`  // a participant's id; empty when nobody won
	Outcome  string  `json:"outcome"` // defeated, fled or abandoned
	Rewards  Rewards `json:"rewards"` // what the winner was paid
	// Unpaid says that the victory was neither paid nor counted, because these two characters have
	// had five paid victories over each other since 00:00 UTC.
	Unpaid  bool  `json:"unpaid,omitzero"`
	Version int64 `json:"version"` // the version of the fight's last state
}

// Started is sent to both users of a fight between players, before any update, as the event
// combat:started.
type Started struct {
	CombatID string `json:"combatId"`
	// ChallengeID is the challenge that was accepted; absent where one let all in.
	ChallengeID string `json:"challengeId,omitempty"`
	State       State  `json:"state"`
}

// Rewards are what the winner of a fight gets.
type Rewards struct {
	Items []Item `json:"items"`
	Gold  int64  `json:"gold"`
}

// IsEmpty reports whether there is neither gold nor an item.
func (r Rewards) IsEmpty() bool { return len(r.Items) == 0 && r.Gold == 0 }

// Item is a quantity of one item.
type Item struct {
	ItemID string `json:"itemId"`
	Qty    int64  `json:"qty"`
}
