package leaderboard

import (
	"context"

	"github.com/aeturnis/realtime/event"
)

// Want names a board, and how much of it to return.
type Want struct {
	// Name is global, weekly, or weekly:2026-11-23 for the week that began on that Monday, one of the
	// last eight.
	Name string `json:"name" validate:"required,max=32"`
	// Limit is how many entries to return, 1 to 100; 10 if it is absent.
	Limit *int `json:"limit,omitempty" validate:"omitempty,min=1,max=100"`
}

// Near names a board, and how many entries around the caller to return.
type Near struct {
	Name string `json:"name" validate:"required,max=32"`
	// Span is how many entries to return before the caller's, and how many after it, 0 to 50; 5 if it
	// is absent.
	Span *int `json:"span,omitempty" validate:"omitempty,min=0,max=50"`
}

// Which names a board.
type Which struct {
	Name string `json:"name" validate:"required,max=32"`
}

// Place is where the caller is on a board.
type Place struct {
	Name  string `json:"name"`
	Total int64  `json:"total"`          // how many players are on the board
	Rank  int64  `json:"rank,omitzero"`  // from 1; absent if the caller is not on the board
	Score int64  `json:"score,omitzero"` // absent if the caller is not on the board
}

func valueOrDefault(n *int, v int) int {
	if n == nil {
		return v
	}
	return *n
}

// First returns the top of a board. Errors: INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) First(ctx context.Context, _ event.Player, in Want) (Page, error) {
	return s.readBoardPage(ctx, in.Name, "", valueOrDefault(in.Limit, 10))
}

// Around returns the entries around the caller's character; none if it is not on the board. Errors:
// INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) Around(ctx context.Context, p event.Player, in Near) (Page, error) {
	return s.readBoardPage(ctx, in.Name, playerIDOf(&p), valueOrDefault(in.Span, 5))
}

// Rank returns where the caller's character is on a board. Errors: INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) Rank(ctx context.Context, p event.Player, in Which) (Place, error) {
	page, err := s.readBoardPage(ctx, in.Name, playerIDOf(&p), 0)
	if err != nil {
		return Place{}, err
	}
	place := Place{Name: page.Name, Total: page.Total}
	for _, e := range page.Entries {
		place.Rank, place.Score = e.Rank, e.Score
	}
	return place, nil
}

// playerIDOf identifies the player on the boards: the character, or the user if there is none.
func playerIDOf(p *event.Player) string {
	if p.CharacterID != "" {
		return p.CharacterID
	}
	return p.UserID
}
