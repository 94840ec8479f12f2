package chat_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// node returns a chat of a node with rooms of its own. Several nodes may share one Redis.
func node(t testing.TB, rdb redis.UniversalClient, cfg chat.Config) (*chat.Service, *rooms) {
	t.Helper()
	r := newRooms()
	if cfg.Report == nil {
		cfg.Report = func(err error) { t.Log(err) }
	}
	if cfg.RedisTimeout == 0 {
		cfg.RedisTimeout = 10 * time.Second // a busy machine must not count as an outage
	}
	s := chat.New(rdb, r, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		s.Close()
	})
	for _, p := range []event.Player{ann, bob} {
		_, err := s.Join(t.Context(), p, chat.Channel{Channel: "global"})
		require.NoError(t, err)
	}
	return s, r
}

func say(text string) chat.Draft { return chat.Draft{Channel: "global", Text: text} }

// texts returns all texts of a history, read page by page.
func texts(t testing.TB, s *chat.Service, limit int) (all []string) {
	t.Helper()
	for before := int64(0); ; {
		h, err := s.History(t.Context(), ann, chat.HistoryQuery{Channel: "global", Before: before, Limit: limit})
		require.NoError(t, err)
		page := []string{}
		for _, m := range h.Messages {
			page = append(page, m.Text)
		}
		all = append(page, all...)
		if before = h.Next; before == 0 {
			return all
		}
	}
}

// A message that is sent again with its clientId, to any node, is not sent to the room again, and
// gets the first answer.
func TestARetryIsAnsweredAsTheFirst(t *testing.T) {
	t.Parallel()
	for name, rdb := range map[string]func(*testing.T) redis.UniversalClient{
		"one server": func(t *testing.T) redis.UniversalClient { return redistest.Client(t) },
		"a Cluster":  clusterClient,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := rdb(t)
			one, heardOne := node(t, c, chat.Config{})
			two, heardTwo := node(t, c, chat.Config{})
			draft := say("hello")
			draft.ClientID = "c1"
			first, err := one.Send(t.Context(), ann, draft)
			require.NoError(t, err)
			for _, s := range []*chat.Service{two, one, two} {
				again, err := s.Send(t.Context(), ann, draft)
				require.NoError(t, err)
				require.Equal(t, first, again)
			}
			require.Len(t, heardOne.heard(), 1)
			require.Empty(t, heardTwo.heard())
			other, err := two.Send(t.Context(), bob, draft)
			require.NoError(t, err)
			require.NotEqual(t, first.ID, other.ID, "the same clientId of another user is another message")
			require.Equal(t, []string{"hello", "hello"}, texts(t, one, 0))
		})
	}
}

// Of many messages with the same clientId at the same time, on two nodes, one is sent.
func TestOneOfManyRetriesIsSaid(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var heard [2]*rooms
	var nodes [2]*chat.Service
	for i := range nodes {
		nodes[i], heard[i] = node(t, rdb, chat.Config{})
	}
	for round := range 20 {
		draft := say("x")
		draft.ClientID = fmt.Sprint("c", round)
		answers := make([]chat.Receipt, 16)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				var err error
				answers[i], err = nodes[i%2].Send(t.Context(), ann, draft)
				require.NoError(t, err)
			})
		}
		wg.Wait()
		for _, a := range answers {
			require.Equal(t, answers[0], a)
		}
		require.Len(t, append(heard[0].heard(), heard[1].heard()...), round+1)
	}
	require.Len(t, texts(t, nodes[0], 7), 20)
}

// A history holds all messages in order, with pages of any length.
func TestHistoryIsReadInPages(t *testing.T) {
	t.Parallel()
	s, _ := node(t, redistest.Client(t), chat.Config{})
	var want []string
	for i := range 230 {
		draft := say(fmt.Sprint(i))
		if i%5 == 0 {
			draft.ClientID = fmt.Sprint("c", i)
		}
		_, err := s.Send(t.Context(), ann, draft)
		require.NoError(t, err)
		want = append(want, draft.Text)
	}
	require.Eventually(t, func() bool { return len(texts(t, s, 100)) == len(want) }, 10*time.Second, time.Millisecond)
	for _, limit := range []int{0, 1, 7, 50, 100} {
		require.Equal(t, want, texts(t, s, limit), "pages of %d", limit)
	}
}

// When many messages have the same millisecond, a page becomes longer, so that none is lost.
func TestHistoryOfOneMoment(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	s, _ := node(t, rdb, chat.Config{Now: func() time.Time { return time.UnixMilli(1_700_000_000_000) }})
	var want []string
	for i := range 40 {
		_, err := s.Send(t.Context(), ann, say(fmt.Sprint(i)))
		require.NoError(t, err)
		want = append(want, fmt.Sprint(i))
	}
	require.Eventually(t, func() bool { return len(texts(t, s, 10)) == len(want) }, 10*time.Second, time.Millisecond)
	require.Equal(t, want, texts(t, s, 10))
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	now := time.Now()
	var mu sync.Mutex
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	s, _ := node(t, rdb, chat.Config{HistoryLength: 100, HistoryAge: time.Hour, Now: clock})
	for i := range 500 {
		draft := say(fmt.Sprint(i))
		draft.ClientID = draft.Text // so Send waits until it is written
		_, err := s.Send(t.Context(), ann, draft)
		require.NoError(t, err)
	}
	n := rdb.XLen(t.Context(), keys.ChatHistory("global")).Val()
	require.GreaterOrEqual(t, n, int64(100))
	require.Less(t, n, int64(300), "Redis trims a node of the stream at a time")
	require.InDelta(t, time.Hour.Milliseconds(), rdb.PTTL(t.Context(), keys.ChatHistory("global")).Val().Milliseconds(), 60_000)
	require.Equal(t, "499", texts(t, s, 100)[n-1])
	mu.Lock()
	now = now.Add(time.Hour + time.Second)
	mu.Unlock()
	require.Empty(t, texts(t, s, 0), "what is too old is not shown")
}

// Without a history no message is written, and a retry still gets the first answer.
func TestWithoutAHistory(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	s, r := node(t, rdb, chat.Config{HistoryLength: -1})
	_, err := s.Send(t.Context(), ann, say("a"))
	require.NoError(t, err)
	b := say("b")
	b.ClientID = "b"
	first, err := s.Send(t.Context(), ann, b)
	require.NoError(t, err)
	again, err := s.Send(t.Context(), ann, b)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Len(t, r.casts, 2)
	require.Empty(t, texts(t, s, 0))
	s.Close()
	require.Zero(t, rdb.Exists(t.Context(), keys.ChatHistory("global")).Val())
	require.Equal(t, int64(1), rdb.DBSize(t.Context()).Val(), "only the answer to clientId b is stored")
}

// A text that looks like the JSON of a message does not confuse the script.
func TestHistoryOfTextsThatLookLikeMessages(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	s, _ := node(t, rdb, chat.Config{})
	for _, text := range []string{`","at":12345,"x":"`, `"at":12345`, `{"id":"x","at":1}`, `\","at":7`} {
		got, err := s.Send(t.Context(), ann, say(text))
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			last := rdb.XRevRangeN(t.Context(), keys.ChatHistory("global"), "+", "-", 1).Val()
			return len(last) == 1 && last[0].Values["id"] == got.ID && strings.HasPrefix(last[0].ID, strconv.FormatInt(got.At, 10)+"-")
		}, 10*time.Second, time.Millisecond, text)
	}
}

// When another node's clock is ahead, no message is hidden or lost.
func TestHistoryWithClocksApart(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	ahead, _ := node(t, rdb, chat.Config{Now: func() time.Time { return time.Now().Add(time.Minute) }})
	right, _ := node(t, rdb, chat.Config{})
	var want []string
	for i := range 20 {
		s := []*chat.Service{ahead, right}[i%2]
		draft := say(fmt.Sprint(i))
		draft.ClientID = draft.Text
		got, err := s.Send(t.Context(), ann, draft)
		require.NoError(t, err)
		want = append(want, draft.Text)
		if i == 19 {
			require.Equal(t, want, texts(t, right, 3))
			_, err = right.Delete(t.Context(), ann, chat.DeleteRequest{Channel: "global", ID: got.ID})
			require.NoError(t, err)
		}
	}
	require.Equal(t, want[:19], texts(t, right, 3))
}

func TestWhoMayReadTheHistory(t *testing.T) {
	t.Parallel()
	s, _ := node(t, redistest.Client(t), chat.Config{Membership: guild{user: "ann"}})
	eve := event.Player{UserID: "eve", Conn: "conn-eve"}
	_, err := s.History(t.Context(), eve, chat.HistoryQuery{Channel: "global"})
	require.ErrorIs(t, err, chat.ErrNotInChannel)
	for raw, field := range map[string]string{
		`{"channel":"x"}`:                     "channel",
		`{}`:                                  "channel",
		`{"channel":"global","before":-1}`:    "before",
		`{"channel":"global","before":"now"}`: "before",
		`{"channel":"global","limit":101}`:    "limit",
	} {
		_, err := ask(t, s, ann, "chat:history", raw)
		require.ErrorIs(t, err, fault.ErrInvalid, raw)
		require.Equal(t, field, fault.Of(err).Detail("field"), raw)
	}
	got, err := ask(t, s, ann, "chat:history", `{"channel":"global"}`)
	require.NoError(t, err)
	require.Equal(t, `{"messages":[]}`, got)
}

// The message in the history is the same that the members received.
func TestHistoryIsWhatWasHeard(t *testing.T) {
	t.Parallel()
	s, heard := node(t, redistest.Client(t), chat.Config{})
	draft := chat.Draft{Channel: "global", Text: `"<b>\ 👋🏽 e` + "\u0301", ClientID: "c"}
	_, err := s.Send(t.Context(), ann, draft)
	require.NoError(t, err)
	h, err := s.History(t.Context(), ann, chat.HistoryQuery{Channel: "global"})
	require.NoError(t, err)
	require.Equal(t, []chat.Message{*heard.heard()[0].payload.(*chat.Message)}, h.Messages)
}

func TestWhispers(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	one, told := node(t, rdb, chat.Config{})
	two, toldTwo := node(t, rdb, chat.Config{})
	aside := chat.WhisperDraft{To: "bob", Text: "cafe\u0301", ClientID: "w1"}
	first, err := one.Whisper(t.Context(), ann, aside)
	require.NoError(t, err)
	require.True(t, first.Delivered)
	require.Equal(t, []cast{{"bob", "chat:whisper", chat.WhisperMessage{
		ID: first.ID, Text: "café", At: first.At, ClientID: "w1", From: chat.Sender{UserID: "ann", Username: "Ann", CharacterID: "c-ann"},
	}}}, told.told)
	again, err := two.Whisper(t.Context(), ann, aside)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Empty(t, toldTwo.told)

	aside.ClientID = "w2"
	aside.To = "nobody"
	lost, err := one.Whisper(t.Context(), ann, aside)
	require.NoError(t, err)
	require.False(t, lost.Delivered)
	again, err = two.Whisper(t.Context(), ann, aside)
	require.NoError(t, err)
	require.Equal(t, lost, again)

	for raw, field := range map[string]string{
		`{"text":"x"}`: "to", `{"to":"bob"}`: "text", `{"to":"bob","text":"\n"}`: "text",
		`{"to":"` + strings.Repeat("x", 129) + `","text":"x"}`: "to",
	} {
		_, err := ask(t, one, ann, "chat:whisper", raw)
		require.ErrorIs(t, err, fault.ErrInvalid, raw)
		require.Equal(t, field, fault.Of(err).Detail("field"), raw)
	}
}

// While the first whisper has no answer, it is not known whether it was delivered: LOCKED.
func TestAWhisperUnderWayIsLocked(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	s, _ := node(t, rdb, chat.Config{})
	require.NoError(t, rdb.Set(t.Context(), keys.WhisperSent("ann", "w"), "01JZZZZZZZZZZZZZZZZZZZZZZZ 17", time.Minute).Err())
	_, err := s.Whisper(t.Context(), ann, chat.WhisperDraft{To: "bob", Text: "x", ClientID: "w"})
	require.ErrorIs(t, err, fault.ErrLocked)
}

func TestSlowMode(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	one, heard := node(t, rdb, chat.Config{})
	two, _ := node(t, rdb, chat.Config{})
	mod := event.Player{UserID: "mod", Conn: bob.Conn, Roles: []string{"moderator"}}
	out, err := one.SetSlowMode(t.Context(), mod, chat.SlowModeRequest{Channel: "global", EveryMs: new(int64(60_000))})
	require.NoError(t, err)
	require.Equal(t, cast{"chat:global", "chat:slowed", out}, heard.heard()[0])

	_, err = one.Send(t.Context(), ann, say("first"))
	require.NoError(t, err)
	var f *fault.Fault
	require.Eventually(t, func() bool { // the other node learns of it within a second
		_, err := two.Send(t.Context(), ann, say("second"))
		f = fault.Of(err)
		return f != nil
	}, 5*time.Second, 100*time.Millisecond)
	require.Equal(t, "RATE_LIMITED", f.Code)
	require.Equal(t, "slow", f.Detail("policy"))
	require.Equal(t, int64(60_000), f.Detail("windowMs"))
	require.InDelta(t, 60_000, f.Detail("retryAfterMs"), 10_000)
	_, err = one.Send(t.Context(), bob, say("another's first"))
	require.NoError(t, err)
	for range 3 {
		_, err = one.Send(t.Context(), mod, say("moderators may"))
		require.NoError(t, err)
	}
	_, err = one.SetSlowMode(t.Context(), mod, chat.SlowModeRequest{Channel: "global", EveryMs: new(int64)})
	require.NoError(t, err)
	_, err = one.Send(t.Context(), ann, say("over"))
	require.NoError(t, err)
}
