package combat

import (
	"math/rand/v2"
	"slices"

	"github.com/aeturnis/realtime/fault"
)

// The faults of an action, in addition to those of package fault.
var (
	ErrFightOver = fault.New("COMBAT_OVER", "That fight has ended.")
	ErrNoEnergy  = fault.New("COMBAT_NO_ENERGY", "You have not enough energy for that.")
	ErrCooldown  = fault.New("COMBAT_COOLDOWN", "That skill is not ready yet.")
	ErrTooSoon   = fault.New("COMBAT_TOO_SOON", "You are not ready to act again.")
)

// The actions that a player may choose.
const (
	Attack = "attack" // strikes the target
	Defend = "defend" // halves the damage taken until the player's next move
	Skill  = "skill"  // strikes twice as hard and never misses; needs energy and some turns of rest
	Flee   = "flee"   // tries to run away, which ends the fight
)

// timeoutAction is the action of the move that ends an abandoned fight. No participant makes it.
const timeoutAction = "timeout"

const (
	skillCost       = 20 // energy
	skillCooldown   = 3  // turns
	energyPerTurn   = 5  // energy that each living participant regains at the end of a turn
	missPercent     = 5
	criticalPercent = 10
)

// pauseAfterAction returns how long a player with that speed must wait after an action against
// another player, in ms: 500 at the default speed of 10, at least 250 and at most 2,000.
func pauseAfterAction(speed int) int64 { return int64(min(2000, max(250, 5000/max(1, speed)))) }

// Move is a decision of one participant. A fight's log is the list of its moves.
type Move struct {
	By     int    // index of the participant who moves; -1 when the fight was abandoned
	Action string // attack, defend, skill or flee; timeout when the fight was abandoned
	Target int    // index of the participant that attack and skill are aimed at
	At     int64  // Unix ms
}

// Apply plays one turn: the move, and what the NPCs do in the same turn. It is a pure function: the
// same state and move always give the same result. It does not change s or what s refers to.
//
// In a turn, everybody who moves first lowers the guard of their last move. Those who defend raise
// their guard again. Then all act by speed, the fastest first; of equally fast participants, the
// one who makes the move is first. The dead do not act, and nothing happens after the fight has
// ended. Last, the living regain energy.
//
// Against an NPC a player may move at any time, because the NPC answers in the same turn. Between
// players a turn is the move of one player. Both may move at the start, and after each move a
// player waits until NextActionAt, the faster player less.
//
// Errors: COMBAT_OVER, FORBIDDEN for a participant that can not move, INVALID with the field action
// or target, COMBAT_TOO_SOON {retryAfterMs, nextActionAt}, COMBAT_NO_ENERGY {energy, cost},
// COMBAT_COOLDOWN {turns}.
func Apply(s State, m Move) (State, Event, error) {
	if err := checkMove(&s, m); err != nil {
		return State{}, Event{}, err
	}
	t := turn{}
	t.dice.Seed(s.Seed, uint64(s.Version))
	s.Participants = slices.Clone(s.Participants)
	t.State = &s
	e := Event{Turn: s.Turn, Action: m.Action, Acts: []Act{}}
	if m.Action == timeoutAction {
		t.finishFight("", Abandoned)
	} else {
		e.By = s.Participants[m.By].ID
		if isStrikeAction(m.Action) {
			e.Target = s.Participants[m.Target].ID
		}
		e.Acts = t.playMoves(m)
	}
	s.Version++
	s.Turn++
	s.UpdatedAt = max(s.UpdatedAt, m.At)
	return s, e, nil
}

// playMoves plays the move and those of the NPCs, in the order that Apply describes.
func (t *turn) playMoves(m Move) []Act {
	moves := append(make([]Move, 0, len(t.Participants)), m)
	for i := range t.Participants {
		if p := &t.Participants[i]; p.Kind == kindNPC && p.HP > 0 {
			moves = append(moves, t.decideNPCMove(i, m.By))
		}
	}
	for _, m := range moves {
		t.Participants[m.By].Guarding = false
	}
	slices.SortStableFunc(moves, func(a, b Move) int {
		if (a.Action == Defend) != (b.Action == Defend) {
			if a.Action == Defend {
				return -1
			}
			return 1
		}
		return t.Participants[b.By].Speed - t.Participants[a.By].Speed
	})
	t.acts = make([]Act, 0, len(moves))
	for _, m := range moves {
		if t.Status == Active && t.Participants[m.By].HP > 0 {
			t.performMove(m)
		}
	}
	for i := range t.Participants {
		if p := &t.Participants[i]; p.HP > 0 {
			p.Energy = min(p.MaxEnergy, p.Energy+energyPerTurn)
		}
	}
	if p := &t.Participants[m.By]; t.isDuel() {
		p.NextActionAt = m.At + pauseAfterAction(p.Speed)
	}
	return t.acts
}

// checkMove returns why a move is not allowed, or nil.
func checkMove(s *State, m Move) error {
	if s.Status != Active {
		return ErrFightOver
	}
	if m.Action == timeoutAction && m.By == -1 {
		return nil
	}
	if m.By < 0 || m.By >= len(s.Participants) || s.Participants[m.By].Kind != kindPlayer || s.Participants[m.By].HP <= 0 {
		return fault.ErrForbidden
	}
	p := &s.Participants[m.By]
	switch m.Action {
	case Defend, Flee:
	case Attack, Skill:
		if m.Target < 0 || m.Target >= len(s.Participants) || m.Target == m.By || s.Participants[m.Target].HP <= 0 {
			return fault.Invalid("target", "no living opponent")
		}
	default:
		return fault.Invalid("action", "one of attack defend skill flee")
	}
	if wait := p.NextActionAt - m.At; wait > 0 && s.isDuel() {
		return ErrTooSoon.With("retryAfterMs", wait).With("nextActionAt", p.NextActionAt)
	}
	if m.Action == Skill {
		if p.SkillTurn > s.Turn {
			return ErrCooldown.With("turns", p.SkillTurn-s.Turn)
		}
		if p.Energy < skillCost {
			return ErrNoEnergy.With("energy", p.Energy).With("cost", skillCost)
		}
	}
	return nil
}

func isStrikeAction(action string) bool { return action == Attack || action == Skill }

// isDuel reports whether all participants are players.
func (s *State) isDuel() bool {
	for i := range s.Participants {
		if s.Participants[i].Kind == kindNPC {
			return false
		}
	}
	return true
}

// turn is a turn while it is being played.
type turn struct {
	*State
	dice rand.PCG
	acts []Act
}

// rollPercent rolls the dice and is true in n of 100 cases.
func (t *turn) rollPercent(n int) bool { return int(t.dice.Uint64()%100) < n }

// decideNPCMove chooses what the NPC with index i does in this turn, against the participant foe.
func (t *turn) decideNPCMove(i, foe int) Move {
	p := &t.Participants[i]
	n := p.npcDefinition()
	switch {
	case n.isUnbeatable && p.HP*2 < p.MaxHP:
		return Move{By: i, Action: "mend"}
	case n.isUnbeatable:
		return Move{By: i}
	case t.rollPercent(n.guardPercent):
		return Move{By: i, Action: Defend}
	}
	return Move{By: i, Action: Attack, Target: foe}
}

func (t *turn) performMove(m Move) {
	p := &t.Participants[m.By]
	done := Act{By: p.ID, Action: m.Action}
	switch m.Action {
	case Defend:
		p.Guarding = true
		done.Result = "guard"
	case Attack, Skill:
		t.strikeTarget(p, m, &done)
	case Flee:
		t.tryToFlee(m.By, &done)
	case "mend":
		// The wounds of this turn are healed too, because the NPC acts after the strike: its speed is 0.
		done.Result, done.Healed = "mended", p.MaxHP-p.HP
		p.HP = p.MaxHP
	default:
		return
	}
	t.acts = append(t.acts, done)
}

func (t *turn) strikeTarget(p *Participant, m Move, done *Act) {
	foe := &t.Participants[m.Target]
	done.Target = foe.ID
	damage := p.Attack*(75+int(t.dice.Uint64()%51))/100 - foe.Defense/2
	missed, critical := t.rollPercent(missPercent), t.rollPercent(criticalPercent)
	if m.Action == Skill {
		p.Energy -= skillCost
		p.SkillTurn = t.Turn + 1 + skillCooldown
		damage, missed = damage*2, false
	}
	if missed {
		done.Result = "miss"
		return
	}
	done.Result = "hit"
	if critical {
		done.Result = "critical"
		damage += damage / 2
	}
	if foe.Guarding {
		damage /= 2
	}
	done.Damage = min(max(1, damage), foe.HP)
	if foe.npcDefinition().isUnbeatable {
		done.Damage = min(done.Damage, foe.HP-1)
	}
	foe.HP -= done.Damage
	if foe.HP == 0 {
		t.finishFight(p.ID, Defeated)
	}
}

// tryToFlee succeeds in 50 % of all tries, plus 5 % for each point of speed that the participant is
// faster, within 10 to 90 %. From opponents with speed 0 it always succeeds.
func (t *turn) tryToFlee(by int, done *Act) {
	done.Result = "fled"
	for i := range t.Participants {
		p, foe := &t.Participants[by], &t.Participants[i]
		if i == by || foe.HP <= 0 || foe.Speed <= 0 {
			continue
		}
		if !t.rollPercent(min(90, max(10, 50+5*(p.Speed-foe.Speed)))) {
			done.Result = "caught"
			return
		}
	}
	t.finishFight(t.Participants[t.firstOpponent(by)].ID, Fled)
}

func (t *turn) finishFight(winner, outcome string) {
	t.Status, t.Winner, t.Outcome = Ended, winner, outcome
}

// firstOpponent returns the index of the first living participant other than by, or -1.
func (s *State) firstOpponent(by int) int {
	for i := range s.Participants {
		if i != by && s.Participants[i].HP > 0 {
			return i
		}
	}
	return -1
}
