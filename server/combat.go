package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/leaderboard"
	"github.com/aeturnis/realtime/trade"
)

// combatRooms are the gateway's rooms as package combat uses them. A fight and the chat channel
// combat:<id> share one room, so a player who joins that channel watches the fight.
type combatRooms struct{ rooms *gatewayRooms }

// chatRoomOf returns the room of the chat's channel for the room of a fight.
func chatRoomOf(room string) string {
	if strings.HasPrefix(room, combat.RoomPrefix) {
		return chat.RoomPrefix + room
	}
	return room
}

func (a combatRooms) Join(ctx context.Context, conn, room string) (int, error) {
	return a.rooms.Join(ctx, conn, chatRoomOf(room))
}

func (a combatRooms) Leave(ctx context.Context, conn, room string) (int, error) {
	return a.rooms.Leave(ctx, conn, chatRoomOf(room))
}

func (a combatRooms) CastExcept(ctx context.Context, room, except, name string, payload any) error {
	return a.rooms.CastExcept(ctx, chatRoomOf(room), chatRoomOf(except), name, payload)
}

// combatCharacters are the characters of fights. The profile source says what they can do, and the
// roster says who played them last. A character that only the roster knows has the default stats.
type combatCharacters struct {
	source profileSource
	roster *combat.Roster
}

func (f combatCharacters) Character(ctx context.Context, id string) (combat.Character, error) {
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

// onlineUsers tells package combat who is online, by asking all gateways.
type onlineUsers struct{ *gatewayRooms }

// errPresenceUnknown says that a fight can not begin: a node did not answer whether the opponent is
// online there.
var errPresenceUnknown = errors.New("not every node said who is online")

func (o onlineUsers) Online(ctx context.Context, userID string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	n, whole := o.Reach(ctx, "user:"+userID)
	if n == 0 && !whole {
		return false, fault.Unavailable("combat", time.Second, errPresenceUnknown)
	}
	return n > 0, nil
}

// tradeRewards pays the winners of fights: it mints the reward through the ledger of trades.
type tradeRewards struct{ *trade.Service }

func (r tradeRewards) Reward(ctx context.Context, key, characterID string, won combat.Rewards) error {
	in := trade.MintRequest{Key: key, CharacterID: characterID, Gold: won.Gold}
	for _, i := range won.Items {
		in.Items = append(in.Items, trade.Line(i))
	}
	_, err := r.Mint(ctx, in)
	return err
}

// leaderboardScores counts victories on the leaderboards.
type leaderboardScores struct{ *leaderboard.Service }

func (v leaderboardScores) Score(ctx context.Context, won combat.Victory) error {
	err := v.Add(ctx, leaderboard.Score(won))
	if err != nil {
		return fmt.Errorf("victory: %w", err)
	}
	return nil
}
