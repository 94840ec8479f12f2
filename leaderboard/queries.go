package leaderboard

import (
	"context"

	"github.com/aeturnis/realtime/event"
)

// Want names a board and how much of it.
type Want struct {
	// Name is global, weekly, or weekly:2026-11-23 for the week that began on that Monday,
	// one of the last eight.
	Name string `json:"name" validate:"required,max=32"`
	// Limit is how many entries, 1 to 100; 10 when it is absent.
	Limit *int `json:"limit,omitempty" validate:"omitempty,min=1,max=100"`
}

// Near names a board and how much around the caller.
type Near struct {
	Name string `json:"name" validate:"required,max=32"`
	// Span is how many entries before and how many after the caller's, 0 to 50; 5 when it is
	// absent.
	Span *int `json:"span,omitempty" validate:"omitempty,min=0,max=50"`
}

// Which names a board.
type Which struct {
	Name string `json:"name" validate:"required,max=32"`
}

// Place is where the caller is on a board.
type Place struct {
	Name  string `json:"name"`
	Total int64  `json:"total"`          // how many are on the board
	Rank  int64  `json:"rank,omitzero"`  // from 1; absent for who is not on it
	Score int64  `json:"score,omitzero"` // absent for who is not on it
}

func valueOr(n *int, v int) int {
	if n == nil {
		return v
	}
	return *n
}

// First reads the top of a board. Errors: INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) First(ctx context.Context, _ event.Player, in Want) (Page, error) {
	return s.readPage(ctx, in.Name, "", valueOr(in.Limit, 10))
}

// Around reads what is around the caller's character; no entries when that is not on the
// board. Errors: INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) Around(ctx context.Context, p event.Player, in Near) (Page, error) {
	return s.readPage(ctx, in.Name, playerID(&p), valueOr(in.Span, 5))
}

// Rank reads where the caller's character is. Errors: INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) Rank(ctx context.Context, p event.Player, in Which) (Place, error) {
	page, err := s.readPage(ctx, in.Name, playerID(&p), 0)
	if err != nil {
		return Place{}, err
	}
	place := Place{Name: page.Name, Total: page.Total}
	for _, e := range page.Entries {
		place.Rank, place.Score = e.Rank, e.Score
	}
	return place, nil
}

// playerID is the player on a board: their character, else their user.
func playerID(p *event.Player) string {
	if p.CharacterID != "" {
		return p.CharacterID
	}
	return p.UserID
}
