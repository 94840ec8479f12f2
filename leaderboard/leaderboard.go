// Package leaderboard counts points and ranks those who have them: for ever on the board
// global, and on the board weekly from Monday 00:00 UTC on. Of equals, who came there first
// is ranked higher.
//
// A week is a board of its own, "weekly:2026-11-23" after its Monday, and "weekly" is the
// present one: nothing has to happen at midnight. It goes away by itself eight weeks after
// its end.
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

// The boards.
const (
	Global = "global"
	Weekly = "weekly"
)

const (
	// MaxPoints is the most that anybody can have on a board; what comes on top is lost.
	MaxPoints = 1<<23 - 1
	// MaxPage is the most entries that one reading returns.
	MaxPage = 100

	week       = 7 * 24 * time.Hour
	weeksKept  = 8 // of history
	dateLayout = "2006-01-02"
)

// Config of the boards. The zero value works.
type Config struct {
	// Remember is for how long a score's key counts once; 0 is 24 hours.
	Remember time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Service serves the boards. It is safe for concurrent use.
type Service struct {
	rdb redis.UniversalClient
	cfg Config
}

// New makes the service over a Redis.
func New(rdb redis.UniversalClient, cfg Config) *Service {
	if cfg.Remember <= 0 {
		cfg.Remember = 24 * time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{rdb, cfg}
}

// A Score is points for somebody.
type Score struct {
	Key    string // what they are for; counted once on each board
	ID     string // whose: a character's id, else a user's
	Name   string // what they are called
	Points int64  // 0 to MaxPoints
	At     time.Time
}

// An Entry is one line of a board.
type Entry struct {
	Rank  int64  `json:"rank"` // from 1
	ID    string `json:"id"`   // a character's id, else a user's
	Name  string `json:"name"`
	Score int64  `json:"score"`
}

// A Page is a part of a board.
type Page struct {
	Name    string  `json:"name"`           // the board's
	From    int64   `json:"from,omitzero"`  // the beginning of a week, Unix ms
	Until   int64   `json:"until,omitzero"` // its end, Unix ms
	Total   int64   `json:"total"`          // how many are on the board
	Entries []Entry `json:"entries"`        // by rank
}

// Add counts a score on the global board and on that of the week in which it was made,
// on each once. After an error, ask again with the same key. Errors: INVALID, UNAVAILABLE.
func (s *Service) Add(ctx context.Context, score Score) error {
	switch {
	case score.Key == "" || score.ID == "":
		return fault.Invalid("id", "key and id are required")
	case score.Points < 0 || score.Points > MaxPoints:
		return fault.Invalid("points", fmt.Sprint("0 to ", MaxPoints))
	}
	now := s.cfg.Now()
	monday := mondayOf(score.At)
	calls := make([]*redisx.Call, 0, 2)
	for _, b := range []struct {
		name string
		gone int64
	}{
		{Global, 0},
		{weekName(monday), monday.Add((1 + weeksKept) * week).UnixMilli()},
	} {
		calls = append(calls, &redisx.Call{
			Script: addScript,
			Keys:   []string{keys.LeaderboardScores(b.name), keys.LeaderboardNames(b.name), keys.LeaderboardSeen(b.name), keys.LeaderboardSteps(b.name)},
			Args:   []any{score.Key, score.ID, score.Name, score.Points, now.UnixMilli(), now.Add(-s.cfg.Remember).UnixMilli(), b.gone},
		})
	}
	redisx.RunScripts(ctx, s.rdb, calls...)
	for _, c := range calls {
		if err := c.Err(); err != nil {
			return wrapFault(ctx, "add "+score.Key, err)
		}
	}
	return nil
}

// Top are the first n entries of a board, at most MaxPage. Errors: NOT_FOUND, UNAVAILABLE.
func (s *Service) Top(ctx context.Context, name string, n int) ([]Entry, error) {
	p, err := s.readPage(ctx, name, "", n)
	return p.Entries, err
}

// readPage reads a part of a board in one round trip.
func (s *Service) readPage(ctx context.Context, name, around string, n int) (Page, error) {
	p, board, err := s.findBoard(name)
	if err != nil {
		return Page{}, err
	}
	n = min(max(n, 0), MaxPage)
	reply, err := pageScript.Do(ctx, s.rdb, []string{keys.LeaderboardScores(board), keys.LeaderboardNames(board)}, around, n).Slice()
	if err != nil {
		return Page{}, wrapFault(ctx, "read "+name, err)
	}
	if len(reply) < 2 || len(reply)%3 != 2 {
		return Page{}, fmt.Errorf("leaderboard: read %s: strange reply of %d values", name, len(reply))
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
			e.Name = e.ID // another program put it there
		}
		p.Entries = append(p.Entries, e)
	}
	return p, nil
}

// findBoard finds a board by the name that clients know: an empty page of it, and the name of
// its keys.
func (s *Service) findBoard(name string) (Page, string, error) {
	p := Page{Name: name, Entries: []Entry{}}
	if name == Global {
		return p, Global, nil
	}
	present := mondayOf(s.cfg.Now())
	monday := present
	if date, ok := strings.CutPrefix(name, Weekly+":"); ok {
		var err error
		monday, err = time.Parse(dateLayout, date)
		if err != nil || mondayOf(monday) != monday || monday.After(present) || present.Sub(monday) > weeksKept*week {
			return p, "", fault.ErrNotFound
		}
	} else if name != Weekly {
		return p, "", fault.ErrNotFound
	}
	p.From, p.Until = monday.UnixMilli(), monday.Add(week).UnixMilli()
	return p, weekName(monday), nil
}

func weekName(monday time.Time) string { return Weekly + ":" + monday.Format(dateLayout) }

// mondayOf is the Monday 00:00 UTC on or before a moment.
func mondayOf(t time.Time) time.Time {
	t = t.UTC().Truncate(24 * time.Hour)
	return t.AddDate(0, 0, -(int(t.Weekday())+6)%7)
}

func wrapFault(ctx context.Context, doing string, err error) error {
	return redisx.WrapFault(ctx, "leaderboard", doing, err)
}

// Routes are the boards' events.
func (s *Service) Routes() []event.Route {
	return []event.Route{
		event.On("leaderboard:top", s.First),
		event.On("leaderboard:around", s.Around),
		event.On("leaderboard:rank", s.Rank),
	}
}

// Casts are none: whoever wants to see a board asks.
func (s *Service) Casts() []event.Cast { return nil }
