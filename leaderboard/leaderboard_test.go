package leaderboard_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/leaderboard"
	"github.com/aeturnis/realtime/redisconn"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// sunday is the last second of a week.
var sunday = time.Date(2026, time.November, 22, 23, 59, 59, 0, time.UTC)

// boards is the service with a clock that tests move.
type boards struct {
	*leaderboard.Service
	t   testing.TB
	now time.Time
	n   int
}

func newBoards(t testing.TB, rdb redis.UniversalClient) *boards {
	b := &boards{t: t, now: sunday}
	b.Service = leaderboard.New(rdb, leaderboard.Config{Now: func() time.Time { return b.now }})
	return b
}

func (b *boards) add(id string, points int64) {
	b.t.Helper()
	require.NoError(b.t, b.tryAdd(id, points))
}

func (b *boards) tryAdd(id string, points int64) error {
	b.n++
	return b.Add(context.Background(), leaderboard.Score{Key: fmt.Sprint("k", b.n), ID: id, Name: "The " + id, Points: points, At: b.now})
}

// lines returns the entries of a board as text.
func lines(entries []leaderboard.Entry) (all []string) {
	for _, e := range entries {
		all = append(all, fmt.Sprintf("%d %s %d", e.Rank, e.ID, e.Score))
	}
	return all
}

func (b *boards) top(name string, n int) []string {
	b.t.Helper()
	entries, err := b.Top(context.Background(), name, n)
	require.NoError(b.t, err)
	return lines(entries)
}

func TestTop(t *testing.T) {
	t.Parallel()
	b := newBoards(t, redistest.Client(t))
	require.Empty(t, b.top("global", 10))
	b.add("ann", 3)
	b.add("bob", 10)
	b.add("cat", 1)
	b.add("ann", 3)
	require.Equal(t, []string{"1 bob 10", "2 ann 6", "3 cat 1"}, b.top("global", 10))
	require.Equal(t, []string{"1 bob 10", "2 ann 6"}, b.top("global", 2))
	require.Equal(t, []string{"1 bob 10", "2 ann 6", "3 cat 1"}, b.top("weekly", 10))
	require.Empty(t, b.top("global", 0))
	require.Len(t, b.top("global", 1_000_000), 3)

	page, err := b.First(t.Context(), event.Player{}, leaderboard.Want{Name: "global"})
	require.NoError(t, err)
	require.EqualValues(t, 3, page.Total)
	require.Equal(t, leaderboard.Entry{Rank: 1, ID: "bob", Name: "The bob", Score: 10}, page.Entries[0])
}

// Of equal scores, the earlier one ranks higher, whatever the names are.
func TestTiesGoToWhoCameFirst(t *testing.T) {
	t.Parallel()
	b := newBoards(t, redistest.Client(t))
	for _, id := range []string{"m", "z", "a"} {
		b.add(id, 5)
	}
	require.Equal(t, []string{"1 m 5", "2 z 5", "3 a 5"}, b.top("global", 10))
	b.add("a", 1)
	b.add("m", 1)
	require.Equal(t, []string{"1 a 6", "2 m 6", "3 z 5"}, b.top("global", 10))
	b.add("z", 1)
	require.Equal(t, []string{"1 a 6", "2 m 6", "3 z 6"}, b.top("global", 10))
}

// Any sequence of scores is ranked as a simple model ranks it.
func TestRanksAreThoseOfTheModel(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	rapid.Check(t, func(rt *rapid.T) {
		require.NoError(rt, rdb.FlushDB(context.Background()).Err())
		b := newBoards(t, rdb)
		type line struct {
			id     string
			points int64
			since  int
		}
		var model []line
		for i := range rapid.IntRange(1, 30).Draw(rt, "scores") {
			id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(rt, "id")
			points := rapid.SampledFrom([]int64{0, 1, 1, 2, 5, 1 << 20, leaderboard.MaxPoints}).Draw(rt, "points")
			was := line{id: id}
			var kept []line
			for _, l := range model {
				if l.id == id {
					was = l
					continue
				}
				kept = append(kept, l)
			}
			if was.points+points > leaderboard.MaxPoints {
				require.ErrorIs(rt, b.tryAdd(id, points), leaderboard.ErrScoreLimit)
				continue
			}
			b.add(id, points)
			was.points, was.since = was.points+points, i
			model = append(kept, was)
		}
		var want []string
		for len(model) > 0 {
			best := 0
			for i, l := range model {
				if l.points > model[best].points || l.points == model[best].points && l.since < model[best].since {
					best = i
				}
			}
			want = append(want, fmt.Sprintf("%d %s %d", len(want)+1, model[best].id, model[best].points))
			model = append(model[:best], model[best+1:]...)
		}
		require.Equal(rt, want, b.top("global", 10))
	})
}

// A player can have 8,388,607 points on a board, and one more is refused. Nothing is lost without a
// word: the board of the next week has room, and counts what the global board refuses.
func TestABoardEndsAtEightMillionPoints(t *testing.T) {
	t.Parallel()
	b := newBoards(t, redistest.Client(t))
	b.add("ann", 8_388_600)
	b.add("ann", 7)
	for range 2 { // nothing of a refusal is remembered
		err := b.Add(t.Context(), leaderboard.Score{Key: "more", ID: "ann", Points: 1, At: b.now})
		var f *fault.Fault
		require.ErrorAs(t, err, &f)
		require.Equal(t, "SCORE_LIMIT", f.Code)
		require.Equal(t, "global", f.Detail("board"))
		require.EqualValues(t, 8_388_607, f.Detail("max"))
		require.EqualValues(t, 8_388_607, f.Detail("score"))
	}
	b.add("ann", 0)
	require.Equal(t, []string{"1 ann 8388607"}, b.top("global", 10))
	require.Equal(t, []string{"1 ann 8388607"}, b.top("weekly", 10))

	b.now = b.now.Add(time.Hour) // Monday
	require.ErrorIs(t, b.tryAdd("ann", 5), leaderboard.ErrScoreLimit)
	require.Equal(t, []string{"1 ann 8388607"}, b.top("global", 10))
	require.Equal(t, []string{"1 ann 5"}, b.top("weekly", 10))
}

func TestAKeyCountsOnce(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	b := newBoards(t, rdb)
	score := leaderboard.Score{Key: "combat:1", ID: "ann", Points: 3, At: b.now}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := b.Add(t.Context(), score); err != nil {
				t.Errorf("add: %v", err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, []string{"1 ann 3"}, b.top("global", 10))
	require.Equal(t, []string{"1 ann 3"}, b.top("weekly", 10))

	// One board has lost the score: a repeated call counts it on that board only.
	require.NoError(t, rdb.Del(t.Context(), keys.LeaderboardScores("global"), keys.LeaderboardSeen("global")).Err())
	require.NoError(t, b.Add(t.Context(), score))
	require.Equal(t, []string{"1 ann 3"}, b.top("global", 10))
	require.Equal(t, []string{"1 ann 3"}, b.top("weekly", 10))

	// A key is remembered for a limited time.
	b.now = b.now.Add(25 * time.Hour)
	b.add("bob", 1)
	require.Zero(t, rdb.ZScore(t.Context(), keys.LeaderboardSeen("global"), "combat:1").Val())
	require.EqualValues(t, 1, rdb.ZCard(t.Context(), keys.LeaderboardSeen("global")).Val())
}

func TestAWeekBeginsOnMonday(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	b := newBoards(t, rdb)
	b.add("ann", 5)
	b.now = sunday.Add(time.Second) // Monday, 00:00 UTC
	require.Empty(t, b.top("weekly", 10))
	require.Equal(t, []string{"1 ann 5"}, b.top("weekly:2026-11-16", 10))
	b.add("bob", 1)
	require.Equal(t, []string{"1 bob 1"}, b.top("weekly", 10))
	require.Equal(t, []string{"1 bob 1"}, b.top("weekly:2026-11-23", 10))
	require.Equal(t, []string{"1 ann 5", "2 bob 1"}, b.top("global", 10))

	// A score of Sunday that is added on Monday counts for the week of Sunday.
	require.NoError(t, b.Add(t.Context(), leaderboard.Score{Key: "late", ID: "cat", Points: 9, At: sunday}))
	require.Equal(t, []string{"1 cat 9", "2 ann 5"}, b.top("weekly:2026-11-16", 10))
	page, err := b.First(t.Context(), event.Player{}, leaderboard.Want{Name: "weekly"})
	require.NoError(t, err)
	require.Equal(t, b.now.UnixMilli(), page.From)
	require.Equal(t, b.now.AddDate(0, 0, 7).UnixMilli(), page.Until)
}

// A board is kept for eight weeks after the end of its week, and expires by itself.
func TestHistoryIsKeptForEightWeeks(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	b := newBoards(t, rdb)
	b.now = time.Now() // Redis uses the real time for the expiry
	b.add("ann", 5)
	monday := b.now.UTC().Truncate(24 * time.Hour)
	for monday.Weekday() != time.Monday {
		monday = monday.AddDate(0, 0, -1)
	}
	name := "weekly:" + monday.Format("2006-01-02")
	for _, key := range []string{keys.LeaderboardScores(name), keys.LeaderboardNames(name), keys.LeaderboardSeen(name), keys.LeaderboardSteps(name)} {
		at := rdb.PExpireTime(t.Context(), key).Val()
		require.Equal(t, monday.AddDate(0, 0, 9*7).UnixMilli(), at.Milliseconds(), key)
	}
	require.Negative(t, rdb.PExpireTime(t.Context(), keys.LeaderboardScores("global")).Val(), "never")
	for weeks, ok := range map[int]bool{-1: false, 0: true, 8: true, 9: false} {
		_, err := b.Top(t.Context(), "weekly:"+monday.AddDate(0, 0, -7*weeks).Format("2006-01-02"), 10)
		require.Equal(t, ok, err == nil, "%d weeks ago: %v", weeks, err)
	}
}

func TestAroundAndRank(t *testing.T) {
	t.Parallel()
	b := newBoards(t, redistest.Client(t))
	for i := range 20 {
		b.add(fmt.Sprintf("c%02d", i), int64(100-i))
	}
	around := func(id string, span int) []string {
		page, err := b.Around(t.Context(), event.Player{UserID: "u", CharacterID: id}, leaderboard.Near{Name: "global", Span: &span})
		require.NoError(t, err)
		require.EqualValues(t, 20, page.Total)
		return lines(page.Entries)
	}
	require.Equal(t, []string{"9 c08 92", "10 c09 91", "11 c10 90"}, around("c09", 1))
	require.Equal(t, []string{"1 c00 100", "2 c01 99", "3 c02 98"}, around("c00", 2))
	require.Equal(t, []string{"18 c17 83", "19 c18 82", "20 c19 81"}, around("c19", 2))
	require.Equal(t, []string{"5 c04 96"}, around("c04", 0))
	require.Empty(t, around("nobody", 3))

	place, err := b.Rank(t.Context(), event.Player{UserID: "c06"}, leaderboard.Which{Name: "weekly"})
	require.NoError(t, err)
	require.Equal(t, leaderboard.Place{Name: "weekly", Total: 20, Rank: 7, Score: 94}, place)
	place, err = b.Rank(t.Context(), event.Player{UserID: "c06", CharacterID: "new"}, leaderboard.Which{Name: "weekly"})
	require.NoError(t, err)
	require.Equal(t, leaderboard.Place{Name: "weekly", Total: 20}, place)
}

// Other programs store plain scores, without a fraction.
func TestScoresOfOtherPrograms(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	b := newBoards(t, rdb)
	require.NoError(t, rdb.ZAdd(t.Context(), keys.LeaderboardScores("global"),
		redis.Z{Score: 100, Member: "ann"}, redis.Z{Score: 100.5, Member: "bob"}, redis.Z{Score: -3, Member: "cat"}, redis.Z{Score: 1e17, Member: "dan"}).Err())
	entries, err := b.Top(t.Context(), "global", 10)
	require.NoError(t, err)
	require.Equal(t, []string{"1 dan 100000000000000000", "2 bob 100", "3 ann 100", "4 cat -3"}, lines(entries))
	require.Equal(t, "ann", entries[2].Name)
	b.add("ann", 1)
	require.Equal(t, "2 ann 101", b.top("global", 10)[1])
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	b := newBoards(t, redistest.Client(t))
	for name, c := range map[string]struct {
		event, raw, code string
		field            any
	}{
		"no name":           {"leaderboard:top", `{}`, "INVALID", "name"},
		"no payload":        {"leaderboard:rank", ``, "INVALID", "name"},
		"no such board":     {"leaderboard:top", `{"name":"monthly"}`, "NOT_FOUND", nil},
		"a key's name":      {"leaderboard:top", `{"name":"global:scores"}`, "NOT_FOUND", nil},
		"no Monday":         {"leaderboard:rank", `{"name":"weekly:2026-11-17"}`, "NOT_FOUND", nil},
		"a week to come":    {"leaderboard:rank", `{"name":"weekly:2026-11-23"}`, "NOT_FOUND", nil},
		"no date":           {"leaderboard:around", `{"name":"weekly:x"}`, "NOT_FOUND", nil},
		"a long name":       {"leaderboard:top", `{"name":"` + fmt.Sprintf("%033d", 0) + `"}`, "INVALID", "name"},
		"none":              {"leaderboard:top", `{"name":"global","limit":0}`, "INVALID", "limit"},
		"too many":          {"leaderboard:top", `{"name":"global","limit":101}`, "INVALID", "limit"},
		"a negative span":   {"leaderboard:around", `{"name":"global","span":-1}`, "INVALID", "span"},
		"too wide":          {"leaderboard:around", `{"name":"global","span":51}`, "INVALID", "span"},
		"another's place":   {"leaderboard:rank", `{"name":"global","id":"bob"}`, "INVALID", "id"},
		"a span of nothing": {"leaderboard:around", `{"name":"global","span":0}`, "", nil},
		"what is right":     {"leaderboard:top", `{"name":"global","limit":100}`, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, r := range b.Routes() {
				if r.Name != c.event {
					continue
				}
				_, err := r.Serve(context.Background(), &event.Player{UserID: "ann"}, []byte(c.raw), nil)
				if c.code == "" {
					require.NoError(t, err)
					return
				}
				require.Equal(t, c.code, fault.Of(err).Code, err)
				require.Equal(t, c.field, fault.Of(err).Detail("field"))
			}
		})
	}
	for name, s := range map[string]leaderboard.Score{
		"no key": {ID: "a", Points: 1}, "nobody": {Key: "k", Points: 1}, "less": {Key: "k", ID: "a", Points: -1}, "more than fits": {Key: "k", ID: "a", Points: 1 << 23},
	} {
		require.ErrorIs(t, b.Add(t.Context(), s), fault.ErrInvalid, name)
	}
}

func TestWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	b := newBoards(t, server.Client())
	b.add("ann", 1)
	server.Kill()
	_, err := b.Top(t.Context(), "global", 10)
	require.ErrorIs(t, err, fault.ErrUnavailable)
	require.Equal(t, "leaderboard", fault.Of(err).Detail("feature"))
	require.ErrorIs(t, b.Add(t.Context(), leaderboard.Score{Key: "k", ID: "a", Points: 1, At: b.now}), fault.ErrUnavailable)
}

// Each read takes one round trip, and so does a score for both boards.
func TestOneRoundTripEach(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	b := newBoards(t, rdb)
	p := event.Player{UserID: "ann"}
	ask := func() {
		b.add("ann", 1)
		_, err := b.First(t.Context(), p, leaderboard.Want{Name: "weekly"})
		require.NoError(t, err)
		_, err = b.Around(t.Context(), p, leaderboard.Near{Name: "global"})
		require.NoError(t, err)
		_, err = b.Rank(t.Context(), p, leaderboard.Which{Name: "global"})
		require.NoError(t, err)
	}
	ask() // loads the scripts
	var trips counter
	rdb.AddHook(&trips)
	ask()
	require.EqualValues(t, 4, trips.Load())
}

// On a Cluster the keys of a board lie in one slot.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	rdb, err := redisconn.Open(t.Context(), c.URL(), redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	b := newBoards(t, rdb)
	b.add("ann", 1)
	b.add("bob", 1)
	require.Equal(t, []string{"1 ann 1", "2 bob 1"}, b.top("global", 10))
	require.Equal(t, []string{"1 ann 1", "2 bob 1"}, b.top("weekly", 10))
}

// counter counts the round trips to Redis.
type counter struct{ atomic.Int64 }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.Add(1); return next(ctx, cmd) }
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.Add(1); return next(ctx, cmds) }
}
