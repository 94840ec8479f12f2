package presence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	_ "embed"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

//go:embed list.lua
var listLua string

var listScript = redisx.NewScript(listLua)

const pageSize = 100

// Routes are the questions that players may ask.
func (s *Service) Routes() []event.Route {
	return []event.Route{
		event.On("presence:list", s.List).Limit("reads"),
		event.On("presence:count", s.Count).Limit("reads"),
		event.On("presence:seen", s.Seen).Limit("reads"),
	}
}

// Casts are the events that members of channels receive.
func (s *Service) Casts() []event.Cast {
	return []event.Cast{
		event.Sends[Movement]("presence:joined", "A user came into a channel that you are in, with the first of its devices. Not told in crowds.").Fleeting(),
		event.Sends[Movement]("presence:left", "A user left a channel that you are in, with the last of its devices. Not told in crowds.").Fleeting(),
	}
}

// Query asks who is in a channel, or online.
type Query struct {
	// Channel is a channel that the player is in; without it, the question is who is online.
	Channel string `json:"channel,omitempty" validate:"max=128"`
	// After is the Next of the previous page.
	After string `json:"after,omitempty" validate:"omitempty,id"`
	// Limit is how many users to return; 0 is 100.
	Limit int `json:"limit,omitempty" validate:"min=0,max=200"`
}

// Page is a part of the users who are there, ordered by user id.
type Page struct {
	Users []User `json:"users"`
	Total int    `json:"total"` // users who are there, on all pages
	// Next is the After of the next page; absent on the last page.
	Next string `json:"next,omitempty"`
}

// List returns who is in a channel, or online. A user of whom nothing readable is stored is left
// out and reported. Errors: INVALID, NOT_IN_CHANNEL, UNAVAILABLE.
func (s *Service) List(ctx context.Context, p event.Player, in Query) (Page, error) {
	name, err := s.scopeOfQuestion(p, in.Channel)
	if err != nil {
		return Page{}, err
	}
	return s.listUsers(ctx, name, in)
}

// ListAny is List for a program that may ask about every channel.
func (s *Service) ListAny(ctx context.Context, in Query) (Page, error) {
	return s.listUsers(ctx, cmp.Or(in.Channel, gameScope), in)
}

// listUsers returns a page of the users in a scope.
func (s *Service) listUsers(ctx context.Context, name string, in Query) (Page, error) {
	if in.Limit == 0 {
		in.Limit = pageSize
	}
	reply, err := listScript.Do(ctx, s.rdb, []string{keys.PresenceUsers(name), keys.PresenceWho(name)}, in.After, strconv.Itoa(in.Limit+1)).Slice()
	if err != nil {
		return Page{}, wrapRedisFault(ctx, "list", err)
	}
	total, found, err := parseScriptReply(reply, 1)
	if err != nil {
		return Page{}, fmt.Errorf("presence: list: %w", err)
	}
	page := Page{Total: total, Users: make([]User, 0, len(found)/2)}
	if n := 2 * in.Limit; len(found) > n { // pairs of an id and what is shown
		found = found[:n]
		page.Next = found[n-2]
	}
	for i := 0; i+1 < len(found); i += 2 {
		u, err := decodeUser(found[i], found[i+1])
		if err != nil {
			s.cfg.Report(&redisx.UnreadableError{Key: keys.PresenceWho(name), Entry: found[i], Err: err})
			continue
		}
		page.Users = append(page.Users, u)
	}
	s.applyProfileNames(ctx, page.Users)
	return page, nil
}

// errNotThatUser means that what is shown of a user is JSON about nobody, or about another user.
var errNotThatUser = errors.New("it is not about that user")

// decodeUser decodes what is shown of the user with that id.
func decodeUser(id, shown string) (u User, err error) {
	if err := json.Unmarshal([]byte(shown), &u); err != nil {
		return User{}, err
	}
	if u.UserID != id {
		return User{}, errNotThatUser
	}
	return u, nil
}

// applyProfileNames replaces the names of the users' sessions by those of their profiles.
func (s *Service) applyProfileNames(ctx context.Context, users []User) {
	if s.cfg.Usernames == nil || len(users) == 0 {
		return
	}
	ids := make([]string, len(users))
	for i, u := range users {
		ids[i] = u.UserID
	}
	names := s.cfg.Usernames(ctx, ids)
	for i, u := range users {
		if name := names[u.UserID]; name != "" {
			users[i].Username = name
		}
	}
}

// Place names a channel, or the whole game.
type Place struct {
	Channel string `json:"channel,omitempty" validate:"max=128"` // absent: the whole game
}

// Number is how many users are there, however many devices they use.
type Number struct {
	Count int `json:"count"`
}

// Count returns how many users are in a channel, or online. Errors: INVALID, NOT_IN_CHANNEL,
// UNAVAILABLE.
func (s *Service) Count(ctx context.Context, p event.Player, in Place) (Number, error) {
	name, err := s.scopeOfQuestion(p, in.Channel)
	if err != nil {
		return Number{}, err
	}
	n, err := s.rdb.ZCard(ctx, keys.PresenceUsers(name)).Result()
	return Number{int(n)}, wrapRedisFault(ctx, "count", err)
}

// Names are the users that a question is about.
type Names struct {
	Users []string `json:"users" validate:"required,min=1,max=100,dive,min=1,id"` // user ids
}

// Sightings are the answers, in the order of the user ids.
type Sightings struct {
	Users []Sighting `json:"users"`
}

// Sighting is what is known of one user.
type Sighting struct {
	UserID string `json:"userId"`
	Online bool   `json:"online"`
	// LastSeenAt is when a user who is not online was last online, Unix ms; absent if that is not
	// known, or too long ago.
	LastSeenAt int64 `json:"lastSeenAt,omitzero"`
}

// Seen returns which of the users are online, and when the others were last online. Errors:
// INVALID, UNAVAILABLE.
func (s *Service) Seen(ctx context.Context, _ event.Player, in Names) (Sightings, error) {
	ids := make([]any, len(in.Users))
	for i, id := range in.Users {
		ids[i] = id
	}
	var online *redis.BoolSliceCmd
	var seen *redis.FloatSliceCmd
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		online = p.SMIsMember(ctx, keys.OnlineUsers, ids...)
		seen = p.ZMScore(ctx, keys.PresenceSeen, in.Users...)
		return nil
	})
	if err != nil {
		return Sightings{}, wrapRedisFault(ctx, "seen", err)
	}
	out := Sightings{Users: make([]Sighting, len(in.Users))}
	for i, id := range in.Users {
		out.Users[i] = Sighting{UserID: id, Online: online.Val()[i]}
		if !out.Users[i].Online {
			out.Users[i].LastSeenAt = int64(seen.Val()[i])
		}
	}
	return out, nil
}

// scopeOfQuestion returns the scope that a player may ask about.
func (s *Service) scopeOfQuestion(p event.Player, channel string) (string, error) {
	if channel == "" {
		return gameScope, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.conns[p.Conn]; c == nil || !c.isInChannel(channel) {
		return "", ErrNotInChannel.With("channel", channel)
	}
	return channel, nil
}

func wrapRedisFault(ctx context.Context, doing string, err error) error {
	return redisx.WrapFault(ctx, "presence", doing, err)
}
