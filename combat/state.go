package combat

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/event"
)

// The status of a fight.
const (
	Active = "active"
	Ended  = "ended"
)

// How a fight ended.
const (
	Defeated = "defeated" // all opponents of the winner are at 0 hp
	Fled     = "fled"     // the loser ran away
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
	Outcome      string        `json:"outcome,omitempty"` // defeated or fled, once ended
	StartedAt    int64         `json:"startedAt"`         // Unix ms
	UpdatedAt    int64         `json:"updatedAt"`         // Unix ms

	// Seed is where all chance in this fight comes from. Players never see it, since it
	// tells what is going to happen.
	Seed uint64 `json:"-"`
}

// Participant is one of those who fight. In a fight with an NPC the player comes first.
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
	By     string `json:"by"`     // whose move it was: a participant's id
	Action string `json:"action"` // attack, defend, skill or flee
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
	Winner   string  `json:"winner"` // a participant's id
	Rewards  Rewards `json:"rewards"`
}

// Rewards are what the winner gets.
type Rewards struct {
	Items []Item `json:"items"`
	Gold  int64  `json:"gold"`
}

// Item is a quantity of one thing.
type Item struct {
	ItemID string `json:"itemId"`
	Qty    int64  `json:"qty"`
}

var (
	_ event.Appender = State{}
	_ event.Appender = Outcome{}
	_ event.Appender = (*Update)(nil)
)

// AppendJSON writes what the struct tags say, without reflection.
func (s State) AppendJSON(dst []byte) []byte {
	dst = text(dst, `{"combatId":`, s.CombatID)
	dst = number(dst, `,"version":`, s.Version)
	dst = text(dst, `,"status":`, s.Status)
	dst = number(dst, `,"turn":`, s.Turn)
	dst = append(dst, `,"participants":[`...)
	for i := range s.Participants {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.Participants[i].appendJSON(dst)
	}
	dst = append(dst, ']')
	if s.Winner != "" {
		dst = text(dst, `,"winner":`, s.Winner)
	}
	if s.Outcome != "" {
		dst = text(dst, `,"outcome":`, s.Outcome)
	}
	dst = number(dst, `,"startedAt":`, s.StartedAt)
	dst = number(dst, `,"updatedAt":`, s.UpdatedAt)
	return append(dst, '}')
}

func (p *Participant) appendJSON(dst []byte) []byte {
	dst = text(dst, `{"id":`, p.ID)
	dst = text(dst, `,"kind":`, p.Kind)
	if p.UserID != "" {
		dst = text(dst, `,"userId":`, p.UserID)
	}
	if p.CharacterID != "" {
		dst = text(dst, `,"characterId":`, p.CharacterID)
	}
	dst = text(dst, `,"name":`, p.Name)
	dst = number(dst, `,"maxHp":`, int64(p.MaxHP))
	dst = number(dst, `,"maxEnergy":`, int64(p.MaxEnergy))
	dst = number(dst, `,"attack":`, int64(p.Attack))
	dst = number(dst, `,"defense":`, int64(p.Defense))
	dst = number(dst, `,"speed":`, int64(p.Speed))
	dst = number(dst, `,"hp":`, int64(p.HP))
	dst = number(dst, `,"energy":`, int64(p.Energy))
	dst = number(dst, `,"skillTurn":`, p.SkillTurn)
	return append(dst, '}')
}

// AppendJSON writes what the struct tags say, without reflection.
func (e Event) AppendJSON(dst []byte) []byte {
	dst = number(dst, `{"turn":`, e.Turn)
	dst = text(dst, `,"by":`, e.By)
	dst = text(dst, `,"action":`, e.Action)
	if e.Target != "" {
		dst = text(dst, `,"target":`, e.Target)
	}
	dst = append(dst, `,"acts":[`...)
	for i := range e.Acts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = e.Acts[i].appendJSON(dst)
	}
	return append(dst, `]}`...)
}

func (a *Act) appendJSON(dst []byte) []byte {
	dst = text(dst, `{"by":`, a.By)
	dst = text(dst, `,"action":`, a.Action)
	if a.Target != "" {
		dst = text(dst, `,"target":`, a.Target)
	}
	dst = text(dst, `,"result":`, a.Result)
	if a.Damage != 0 {
		dst = number(dst, `,"damage":`, int64(a.Damage))
	}
	if a.Healed != 0 {
		dst = number(dst, `,"healed":`, int64(a.Healed))
	}
	return append(dst, '}')
}

// AppendJSON writes what the struct tags say, without reflection.
func (o Outcome) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"event":`...)
	dst = o.Event.AppendJSON(dst)
	dst = append(dst, `,"state":`...)
	dst = o.State.AppendJSON(dst)
	return append(dst, '}')
}

// AppendJSON writes what the struct tags say, without reflection.
func (u *Update) AppendJSON(dst []byte) []byte {
	dst = text(dst, `{"combatId":`, u.CombatID)
	dst = append(dst, `,"event":`...)
	dst = u.Event.AppendJSON(dst)
	dst = append(dst, `,"state":`...)
	dst = u.State.AppendJSON(dst)
	return append(dst, '}')
}

// text appends a name and a JSON string. Bytes that are not UTF-8 become U+FFFD: the error
// that is dropped here only tells that there were some.
func text(dst []byte, name, s string) []byte {
	dst = append(dst, name...)
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

func number(dst []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(dst, name...), n, 10)
}
