package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/leaderboard"
	"github.com/aeturnis/realtime/trade"
)

// combat makes the fights.
func (n *node) combat(r *rooms, trades *trade.Service, boards *leaderboard.Service) *combat.Service {
	n.roster = combat.NewRoster(n.rdb, n.fightUntold)
	return combat.New(n.rdb, arena{r}, combat.Config{
		Characters: fighters{n.people, n.roster}, Presence: online{r}, Rewarder: rewards{trades}, Scorer: victories{boards},
		AbandonAfter: n.cfg.CombatTimeout, Report: n.fightUntold,
	})
}

// arena are the gateway's rooms as fights see them: the room of a fight is that of the chat's
// channel of the same name, so whoever joins the channel combat:<id> watches the fight.
type arena struct{ rooms *rooms }

func channel(room string) string {
	if strings.HasPrefix(room, combat.RoomPrefix) {
		return chat.RoomPrefix + room
	}
	return room
}

func (a arena) Join(ctx context.Context, conn, room string) (int, error) {
	return a.rooms.Join(ctx, conn, channel(room))
}

func (a arena) Leave(ctx context.Context, conn, room string) (int, error) {
	return a.rooms.Leave(ctx, conn, channel(room))
}

func (a arena) CastExcept(ctx context.Context, room, except, name string, payload any) error {
	return a.rooms.CastExcept(ctx, channel(room), channel(except), name, payload)
}

// fighters are the characters of fights: what they can do is the profile source's, who
// plays them is who played them last. One whom only the roster knows has the usual stats.
type fighters struct {
	source profileSource
	roster *combat.Roster
}

func (f fighters) Character(ctx context.Context, id string) (combat.Character, error) {
	user, err := f.roster.Player(ctx, id)
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return combat.Character{}, err
	}
	c, err := f.source.Character(ctx, id)
	switch {
	case errors.Is(err, fault.ErrNotFound) && user != "":
		return combat.Character{UserID: user, Name: id, Stats: combat.DefaultStats}, nil
	case err != nil:
		return combat.Character{}, err
	case user == "":
		user = c.OwnerID
	}
	return combat.Character{UserID: user, Name: c.Name, Stats: combat.Stats(c.Stats)}, nil
}

// online is the gateway as fights ask it who is there.
type online struct{ *rooms }

// errUnsure says that a node did not tell whether the player is there.
var errUnsure = errors.New("not every node told who is there")

func (o online) Online(ctx context.Context, userID string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	n, whole := o.Reach(ctx, "user:"+userID)
	if n == 0 && !whole {
		return false, fault.Unavailable("combat", time.Second, errUnsure)
	}
	return n > 0, nil
}

// rewards pays victories through the trade's ledger.
type rewards struct{ *trade.Service }

func (r rewards) Reward(ctx context.Context, key, characterID string, won combat.Rewards) error {
	in := trade.MintRequest{Key: key, CharacterID: characterID, Gold: won.Gold}
	for _, i := range won.Items {
		in.Items = append(in.Items, trade.Line(i))
	}
	_, err := r.Mint(ctx, in)
	return err
}

// victories counts them on the leaderboards.
type victories struct{ *leaderboard.Service }

func (v victories) Score(ctx context.Context, won combat.Victory) error {
	err := v.Add(ctx, leaderboard.Score(won))
	if err != nil {
		return fmt.Errorf("victory: %w", err)
	}
	return nil
}

// connectionObservers are all told who comes and goes.
type connectionObservers []gateway.ConnectionObserver

func (all connectionObservers) Connected(p event.Player) {
	for _, w := range all {
		w.Connected(p)
	}
}

func (all connectionObservers) CharacterChanged(p event.Player) {
	for _, w := range all {
		w.CharacterChanged(p)
	}
}

func (all connectionObservers) Disconnected(p event.Player) {
	for _, w := range all {
		w.Disconnected(p)
	}
}
