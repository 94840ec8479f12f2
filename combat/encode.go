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
	_ event.Appender = StartAnswer{}
	_ event.Appender = (*Update)(nil)
	_ event.Appender = (*Started)(nil)
)

// AppendJSON appends the state as its struct tags define it, without reflection.
func (s State) AppendJSON(dst []byte) []byte {
	dst = appendStringMember(dst, `{"combatId":`, s.CombatID)
	dst = appendNumberMember(dst, `,"version":`, s.Version)
	dst = appendStringMember(dst, `,"status":`, s.Status)
	dst = appendNumberMember(dst, `,"turn":`, s.Turn)
	dst = append(dst, `,"participants":[`...)
	for i := range s.Participants {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.Participants[i].appendJSON(dst)
	}
	dst = append(dst, ']')
	if s.Winner != "" {
		dst = appendStringMember(dst, `,"winner":`, s.Winner)
	}
	if s.Outcome != "" {
		dst = appendStringMember(dst, `,"outcome":`, s.Outcome)
	}
	dst = appendNumberMember(dst, `,"startedAt":`, s.StartedAt)
	dst = appendNumberMember(dst, `,"updatedAt":`, s.UpdatedAt)
	return append(dst, '}')
}

func (p *Participant) appendJSON(dst []byte) []byte {
	dst = appendStringMember(dst, `{"id":`, p.ID)
	dst = appendStringMember(dst, `,"kind":`, p.Kind)
	if p.UserID != "" {
		dst = appendStringMember(dst, `,"userId":`, p.UserID)
	}
	if p.CharacterID != "" {
		dst = appendStringMember(dst, `,"characterId":`, p.CharacterID)
	}
	dst = appendStringMember(dst, `,"name":`, p.Name)
	dst = appendNumberMember(dst, `,"maxHp":`, int64(p.MaxHP))
	dst = appendNumberMember(dst, `,"maxEnergy":`, int64(p.MaxEnergy))
	dst = appendNumberMember(dst, `,"attack":`, int64(p.Attack))
	dst = appendNumberMember(dst, `,"defense":`, int64(p.Defense))
	dst = appendNumberMember(dst, `,"speed":`, int64(p.Speed))
	dst = appendNumberMember(dst, `,"hp":`, int64(p.HP))
	dst = appendNumberMember(dst, `,"energy":`, int64(p.Energy))
	dst = appendNumberMember(dst, `,"skillTurn":`, p.SkillTurn)
	dst = strconv.AppendBool(append(dst, `,"guarding":`...), p.Guarding)
	dst = appendNumberMember(dst, `,"nextActionAt":`, p.NextActionAt)
	return append(dst, '}')
}

// AppendJSON appends the event as its struct tags define it, without reflection.
func (e Event) AppendJSON(dst []byte) []byte {
	dst = appendNumberMember(dst, `{"turn":`, e.Turn)
	dst = appendStringMember(dst, `,"by":`, e.By)
	dst = appendStringMember(dst, `,"action":`, e.Action)
	if e.Target != "" {
		dst = appendStringMember(dst, `,"target":`, e.Target)
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
	dst = appendStringMember(dst, `{"by":`, a.By)
	dst = appendStringMember(dst, `,"action":`, a.Action)
	if a.Target != "" {
		dst = appendStringMember(dst, `,"target":`, a.Target)
	}
	dst = appendStringMember(dst, `,"result":`, a.Result)
	if a.Damage != 0 {
		dst = appendNumberMember(dst, `,"damage":`, int64(a.Damage))
	}
	if a.Healed != 0 {
		dst = appendNumberMember(dst, `,"healed":`, int64(a.Healed))
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
	dst = appendStringMember(dst, `{"combatId":`, u.CombatID)
	dst = append(dst, `,"event":`...)
	dst = u.Event.AppendJSON(dst)
	dst = append(dst, `,"state":`...)
	dst = u.State.AppendJSON(dst)
	return append(dst, '}')
}

// AppendJSON appends the start as its struct tags define it, without reflection.
func (s *Started) AppendJSON(dst []byte) []byte {
	dst = appendStringMember(dst, `{"combatId":`, s.CombatID)
	if s.ChallengeID != "" {
		dst = appendStringMember(dst, `,"challengeId":`, s.ChallengeID)
	}
	dst = append(dst, `,"state":`...)
	dst = s.State.AppendJSON(dst)
	return append(dst, '}')
}

// AppendJSON appends the fight or the challenge as their struct tags define them.
func (a StartAnswer) AppendJSON(dst []byte) []byte {
	if a.State != nil {
		return a.State.AppendJSON(dst)
	}
	dst = appendStringMember(dst, `{"challengeId":`, a.ChallengeID)
	dst = appendNumberMember(dst, `,"expiresInMs":`, a.ExpiresInMs)
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

// appendStringMember appends the name of a member, with its punctuation, and a string in JSON.
func appendStringMember(dst []byte, name, s string) []byte {
	return event.AppendQuote(append(dst, name...), s)
}

// appendNumberMember appends the name of a member, with its punctuation, and a number.
func appendNumberMember(dst []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(dst, name...), n, 10)
}
