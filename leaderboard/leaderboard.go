// Package leaderboard counts points and ranks the players who have them. The board "global" counts
// for ever, and the board "weekly" from Monday 00:00 UTC on. Of players with the same points, the
// one who reached them first ranks higher.
//
// Each week has a board of its own, named after its Monday ("weekly:2026-11-23"), and "weekly" is
// the board of the current week, so nothing has to happen at midnight. A board expires eight weeks
// after the end of its week.
package leaderboard

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

var (
	//go:embed add.lua
	addLua string
	//go:embed page.lua
	pageLua string

	addScript  = redisx.NewScript(addLua)
	pageScript = redisx.NewScript(pageLua)
)

// Global and Weekly are the names of the boards.
const (
	Global = "global"
	Weekly = "weekly"
)

// ErrScoreLimit refuses points that would be more than MaxPoints on a board. Its details are the
// board, the player's score, and max.
var ErrScoreLimit = fault.New("SCORE_LIMIT", "The board can not count that many points.")

const (
	// MaxPoints is the most points that a player can have on a board. Points that would be more are
	// refused with ErrScoreLimit.
	MaxPoints = 1<<23 - 1
	// MaxPage is the most entries that one read returns.
	MaxPage = 100

	week       = 7 * 24 * time.Hour
	weeksKept  = 8 // boards of past weeks
	dateLayout = "2006-01-02"
)

// Config tunes a Service. The zero value works.
type Config struct {
	// Remember is for how long a repeated Key is recognized and not counted again; 0 means 24 hours.
	Remember time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Service counts points and reads boards. Its methods may be called from any goroutine.
type Service struct {
	rdb redis.UniversalClient
	cfg Config
}

// New returns a Service that keeps its boards in Redis.
func New(rdb redis.UniversalClient, cfg Config) *Service {
	if cfg.Remember <= 0 {
		cfg.Remember = 24 * time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{rdb, cfg}
}

// A Score is points for a player.
type Score struct {
	Key    string // identifies the event that gave the points; counted once on each board
	ID     string // of the character, or of the user if there is none
	Name   string // of the player, shown on the boards
	Points int64  // 0 to MaxPoints
	At     time.Time
}

// An Entry is one line of a board.
type Entry struct {
	Rank  int64  `json:"rank"` // from 1
	ID    string `json:"id"`   // of the character, or of the user if there is none
	Name  string `json:"name"`
	Score int64  `json:"score"`
}

// A Page is a part of a board.
type Page struct {
	Name    string  `json:"name"`           // of the board
	From    int64   `json:"from,omitzero"`  // the beginning of the week, Unix ms
	Until   int64   `json:"until,omitzero"` // the end of the week, Unix ms
	Total   int64   `json:"total"`          // how many players are on the board
	Entries []Entry `json:"entries"`        // by rank
}

// Add counts a score on the global board and on the board of its week, once on each. After
// UNAVAILABLE, repeat the call with the same key. If a board cannot hold the points, nothing of
// them counts there, but they count on the other board. Errors: INVALID, ErrScoreLimit,
// UNAVAILABLE.
func (s *Service) Add(ctx context.Context, score Score) error {
	switch {
	case score.Key == "" || score.ID == "":
		return fault.Invalid("id", "key and id are required")
	case score.Points < 0 || score.Points > MaxPoints:
		return fault.Invalid("points", fmt.Sprint("0 to ", MaxPoints))
	}
	now := s.cfg.Now()
	monday := mondayAtOrBefore(score.At)
	boards := [2]struct {
		name string
		gone int64
	}{
		{Global, 0},
		{weekBoardName(monday), monday.Add((1 + weeksKept) * week).UnixMilli()},
	}
	calls := make([]*redisx.Call, 0, len(boards))
	for _, b := range boards {
		calls = append(calls, &redisx.Call{
			Script: addScript,
			Keys:   []string{keys.LeaderboardScores(b.name), keys.LeaderboardNames(b.name), keys.LeaderboardSeen(b.name), keys.LeaderboardSteps(b.name)},
			Args:   []any{score.Key, score.ID, score.Name, score.Points, now.UnixMilli(), now.Add(-s.cfg.Remember).UnixMilli(), b.gone},
		})
	}
	redisx.RunScripts(ctx, s.rdb, calls...)
	var refused error
	for i, c := range calls {
		reply, err := c.Int64Slice()
		switch {
		case err != nil:
			return wrapRedisFault(ctx, "add "+score.Key, err)
		case refused == nil && len(reply) == 2 && reply[0] < 0:
			refused = ErrScoreLimit.With("board", boards[i].name).With("score", reply[1]).With("max", MaxPoints)
		}
	}
	return refused
}

// Top returns the first n entries of a board, at most MaxPage. Errors: NOT_FOUND, UNAVAILABLE.
func (s *Service) Top(ctx context.Context, name string, n int) ([]Entry, error) {
	p, err := s.readBoardPage(ctx, name, "", n)
	return p.Entries, err
}

// readBoardPage reads a part of a board in one round trip: the top, or the entries around a player.
func (s *Service) readBoardPage(ctx context.Context, name, around string, n int) (Page, error) {
	p, board, err := s.findBoardByName(name)
	if err != nil {
		return Page{}, err
	}
	n = min(max(n, 0), MaxPage)
	reply, err := pageScript.Do(ctx, s.rdb, []string{keys.LeaderboardScores(board), keys.LeaderboardNames(board)}, around, n).Slice()
	if err != nil {
		return Page{}, wrapRedisFault(ctx, "read "+name, err)
	}
	if len(reply) < 2 || len(reply)%3 != 2 {
		return Page{}, fmt.Errorf("leaderboard: read %s: unexpected reply of %d values", name, len(reply))
	}
	p.Total, _ = reply[0].(int64)
	rank, _ := reply[1].(int64)
	for i := 2; i < len(reply); i += 3 {
		rank++
		e := Entry{Rank: rank}
		e.ID, _ = reply[i].(string)
		score, _ := reply[i+1].(string)
		if e.Score, err = strconv.ParseInt(score, 10, 64); err != nil {
			return Page{}, fmt.Errorf("leaderboard: read %s: score of %s: %w", name, e.ID, err)
		}
		if e.Name, _ = reply[i+2].(string); e.Name == "" {
			e.Name = e.ID // another program added the player, without a name
		}
		p.Entries = append(p.Entries, e)
	}
	return p, nil
}

// findBoardByName resolves the name that clients use to an empty page, and to the name in the keys.
func (s *Service) findBoardByName(name string) (Page, string, error) {
	p := Page{Name: name, Entries: []Entry{}}
	if name == Global {
		return p, Global, nil
	}
	present := mondayAtOrBefore(s.cfg.Now())
	monday := present
	if date, ok := strings.CutPrefix(name, Weekly+":"); ok {
		var err error
		monday, err = time.Parse(dateLayout, date)
		if err != nil || mondayAtOrBefore(monday) != monday || monday.After(present) || present.Sub(monday) > weeksKept*week {
			return p, "", fault.ErrNotFound
		}
	} else if name != Weekly {
		return p, "", fault.ErrNotFound
	}
	p.From, p.Until = monday.UnixMilli(), monday.Add(week).UnixMilli()
	return p, weekBoardName(monday), nil
}

func weekBoardName(monday time.Time) string { return Weekly + ":" + monday.Format(dateLayout) }

// mondayAtOrBefore returns the Monday, 00:00 UTC, at or before a time.
func mondayAtOrBefore(t time.Time) time.Time {
	t = t.UTC().Truncate(24 * time.Hour)
	return t.AddDate(0, 0, -(int(t.Weekday())+6)%7)
}

func wrapRedisFault(ctx context.Context, doing string, err error) error {
	return redisx.WrapFault(ctx, "leaderboard", doing, err)
}

// Routes are the questions that players may ask.
func (s *Service) Routes() []event.Route {
	return []event.Route{
		event.On("leaderboard:top", s.First).Limit("reads"),
		event.On("leaderboard:around", s.Around).Limit("reads"),
		event.On("leaderboard:rank", s.Rank).Limit("reads"),
	}
}

// Casts are the events that players receive: none. Clients ask for a board when they need it.
func (s *Service) Casts() []event.Cast { return nil }
