package combat

import (
	"strconv"

	"github.com/aeturnis/realtime/event"
)

// Every action and every update is encoded here by hand, because reflection is too slow for the
// path that each turn takes. The result is the same as that of the struct tags.

var (
	_ event.Appender = State{}
	_ event.Appender = Outcome{}
	_ event.Appender = (*Update)(nil)
	_ event.Appender = (*Started)(nil)
)

// AppendJSON appends the state as its struct tags define it, without reflection.
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
	dst = strconv.AppendBool(append(dst, `,"guarding":`...), p.Guarding)
	dst = number(dst, `,"nextActionAt":`, p.NextActionAt)
	return append(dst, '}')
}

// AppendJSON appends the event as its struct tags define it, without reflection.
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

// AppendJSON appends the outcome as its struct tags define it, without reflection.
func (o Outcome) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"event":`...)
	dst = o.Event.AppendJSON(dst)
	dst = append(dst, `,"state":`...)
	dst = o.State.AppendJSON(dst)
	return append(dst, '}')
}

// AppendJSON appends the update as its struct tags define it, without reflection.
func (u *Update) AppendJSON(dst []byte) []byte {
	dst = text(dst, `{"combatId":`, u.CombatID)
	dst = append(dst, `,"event":`...)
	dst = u.Event.AppendJSON(dst)
	dst = append(dst, `,"state":`...)
	dst = u.State.AppendJSON(dst)
	return append(dst, '}')
}

// AppendJSON appends the start as its struct tags define it, without reflection.
func (s *Started) AppendJSON(dst []byte) []byte {
	dst = text(dst, `{"combatId":`, s.CombatID)
	dst = append(dst, `,"state":`...)
	dst = s.State.AppendJSON(dst)
	return append(dst, '}')
}

// The updates and the ending of a fight arrive in order, whichever nodes they come from. The first
// update has version 2 and is number 1 of the stream; the ending follows the last update.
var (
	_ event.Ordered = (*Update)(nil)
	_ event.Ordered = Ending{}
)

// Order returns the fight's id as the stream, and the update's number in it.
func (u *Update) Order() (stream string, number int64) { return u.CombatID, u.State.Version - 1 }

// Order returns the fight's id as the stream, and a number that follows the last update's.
func (e Ending) Order() (stream string, number int64) { return e.CombatID, e.Version }

// text appends the name of a member, with its punctuation, and a string in JSON.
func text(dst []byte, name, s string) []byte { return event.AppendQuote(append(dst, name...), s) }

// number appends the name of a member, with its punctuation, and a number.
func number(dst []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(dst, name...), n, 10)
}
