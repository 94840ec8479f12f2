// Package quests is a game feature with a namespace of its own: players connect to /quests, form
// parties, and mark places on the map of their party.
package quests

import (
	"context"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/server"
)

// ErrNotInParty refuses a party's event from somebody who is not in it.
var ErrNotInParty = fault.New("QUEST_NOT_IN_PARTY", "Join the party first.")

// A Feature serves the events of /quests.
type Feature struct{ rooms server.Rooms }

// Namespace makes it a server.Namespaced.
func (f *Feature) Namespace() string { return "/quests" }

// Start keeps what the server has for its features. Its Rooms are those of /quests.
func (f *Feature) Start(s server.Services) error {
	f.rooms = s.Rooms
	return nil
}

// Routes lists the events that players may send.
func (f *Feature) Routes() []event.Route {
	return []event.Route{
		event.On("quest:join", f.Join).Limit("rooms"),
		event.On("quest:mark", f.Mark).Limit("chat").Once(),
		event.On("quest:draw", f.Draw).Limit("rooms"),
		event.On("quest:point", f.Point).Unlimited("it only moves a finger on the screen"),
		event.On("quest:vote", f.Vote).Limit("rooms"),
		event.On("quest:tell", f.Tell).Limit("chat"),
	}
}

// vote is a question that players answer by the acknowledgement.
var vote = event.Asks[Party, Ballot]("quest:ready", "To everybody in the party: do you want to set off?")

// Casts lists the events that players are sent.
func (f *Feature) Casts() []event.Cast {
	return []event.Cast{
		event.Sends[Mark]("quest:marked", "To everybody in the party: somebody marked a place."),
		event.Sends[Drawing]("quest:drawn", "To everybody in the party: somebody drew a map."),
		event.Sends[Mark]("quest:pointed", "To everybody in the party: where somebody points.").Volatile(),
		event.Sends[Told]("quest:told", "To all devices of one player: a word of another one."),
		vote.Cast(),
	}
}

// Party names a party.
type Party struct {
	Party string `json:"party" validate:"required,max=32"`
}

// Joined says how many of the party are on this node.
type Joined struct {
	Members int `json:"members"`
}

// Mark is a place on the map.
type Mark struct {
	Party string `json:"party" validate:"required,max=32"`
	Place string `json:"place" validate:"required,max=64"`
	// IdempotencyKey makes a repeat safe.
	IdempotencyKey string `json:"idempotencyKey,omitempty" validate:"max=64"`
}

// Drawing is a map.
type Drawing struct {
	Party string       `json:"party" validate:"required,max=32"`
	Map   event.Binary `json:"map" validate:"required,max=16384"`
}

// Ballot is what a player answers to quest:ready.
type Ballot struct {
	Yes bool `json:"yes"`
}

// Votes counts ballots.
type Votes struct {
	Asked int `json:"asked"`
	Yes   int `json:"yes"`
}

// Tell is a word for one player.
type Tell struct {
	To   string `json:"to" validate:"required,id"`
	Word string `json:"word" validate:"required,max=64"`
}

// Told is what the player hears.
type Told struct {
	From string `json:"from"`
	Word string `json:"word"`
}

// Reached says how many connections heard it.
type Reached struct {
	Reached int `json:"reached"`
}

// Join puts the player's connection into a party.
func (f *Feature) Join(ctx context.Context, p event.Player, in Party) (Joined, error) {
	members, err := f.rooms.Join(ctx, p.Conn, partyRoom(in.Party))
	return Joined{members}, err
}

// Mark shows a place to the party. Errors: QUEST_NOT_IN_PARTY.
func (f *Feature) Mark(ctx context.Context, p event.Player, in Mark) (event.None, error) {
	if err := f.checkMember(p, in.Party); err != nil {
		return event.None{}, err
	}
	in.IdempotencyKey = ""
	return event.None{}, f.rooms.Cast(ctx, partyRoom(in.Party), "quest:marked", in)
}

// Draw shows a map to the others of the party. Errors: QUEST_NOT_IN_PARTY.
func (f *Feature) Draw(ctx context.Context, p event.Player, in Drawing) (event.None, error) {
	if err := f.checkMember(p, in.Party); err != nil {
		return event.None{}, err
	}
	return event.None{}, f.rooms.CastExcept(ctx, partyRoom(in.Party), p.Conn, "quest:drawn", in)
}

// Point shows the party where the player points. Errors: QUEST_NOT_IN_PARTY.
func (f *Feature) Point(ctx context.Context, p event.Player, in Mark) (event.None, error) {
	if err := f.checkMember(p, in.Party); err != nil {
		return event.None{}, err
	}
	return event.None{}, f.rooms.Cast(ctx, partyRoom(in.Party), "quest:pointed", in)
}

// Vote asks everybody in the party. Errors: QUEST_NOT_IN_PARTY.
func (f *Feature) Vote(ctx context.Context, p event.Player, in Party) (Votes, error) {
	if err := f.checkMember(p, in.Party); err != nil {
		return Votes{}, err
	}
	answers, err := vote.Ask(ctx, f.rooms, partyRoom(in.Party), in)
	out := Votes{Asked: answers.Asked}
	for _, a := range answers.All {
		if a.Reply.Yes {
			out.Yes++
		}
	}
	return out, err
}

// Tell tells one player a word, on all devices that are in /quests.
func (f *Feature) Tell(ctx context.Context, p event.Player, in Tell) (Reached, error) {
	reached, _, err := f.rooms.CastUser(ctx, in.To, "quest:told", Told{p.UserID, in.Word})
	return Reached{reached}, err
}

// checkMember returns ErrNotInParty for a connection that is not in a party.
func (f *Feature) checkMember(p event.Player, party string) error {
	if !f.rooms.In(p.Conn, partyRoom(party)) {
		return ErrNotInParty
	}
	return nil
}

// partyRoom returns the room of a party. Rooms of /quests are not those of other namespaces.
func partyRoom(party string) string { return "party:" + party }
