package chat_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once"
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

// keyed returns the context of an event with an idempotency key, as the gateway makes it.
func keyed(t testing.TB, beside, user, key string) context.Context {
	route := map[bool]string{true: "chat:message", false: "chat:whisper"}[strings.HasPrefix(beside, "chat:")]
	return event.WithClaim(t.Context(), &event.Claim{
		Request: event.Request{Key: key, Digest: "0123456789abcdef", Beside: beside},
		Record:  keys.Once(route, beside, user, key), Token: "token of " + t.Name(), Keep: 2 * time.Minute,
	})
}

// send sends a message whose clientId, if it has one, is its idempotency key.
func send(t testing.TB, s *chat.Service, p event.Player, draft chat.Draft) (chat.Receipt, error) {
	ctx := t.Context()
	if draft.ClientID != "" {
		ctx = keyed(t, keys.ChatHistory(draft.Channel), p.UserID, draft.ClientID)
	}
	return s.Send(ctx, p, draft)
}

// A desk is a chat behind what makes its events be done once.
type desk struct {
	*chat.Service
	once *once.Keeper
}

func newDesk(t testing.TB, s *chat.Service, rdb redis.UniversalClient) desk {
	d := desk{s, once.New(rdb, once.Config{})}
	t.Cleanup(d.once.Close)
	return d
}

// ask sends an event as a client does, through the gateway's way of doing it once.
func (d desk) ask(t testing.TB, p event.Player, name, raw string) (string, error) {
	t.Helper()
	for _, r := range d.Routes() {
		if r.Name != name {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		request, err := r.OnceRule.Identify(&p, []byte(raw), "")
		if err != nil {
			return "", err
		}
		serve := func(ctx context.Context, dst []byte) ([]byte, error) { return r.Serve(ctx, &p, []byte(raw), dst) }
		if request.Key == "" {
			out, err := serve(ctx, nil)
			return string(out), err
		}
		out, err := d.once.Do(ctx, &once.Event{UserID: p.UserID, Route: name, Rule: r.OnceRule, Request: request, Serve: serve}, nil)
		return string(out), err
	}
	t.Fatalf("no route %s", name)
	return "", nil
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
			first, err := send(t, one, ann, draft)
			require.NoError(t, err)
			for _, s := range []*chat.Service{two, one, two} {
				again, err := send(t, s, ann, draft)
				require.NoError(t, err)
				require.Equal(t, first, again)
			}
			require.Len(t, heardOne.heard(), 1)
			require.Empty(t, heardTwo.heard())
			other, err := send(t, two, bob, draft)
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
				answers[i], err = send(t, nodes[i%2], ann, draft)
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
		_, err := send(t, s, ann, draft)
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
		_, err := send(t, s, ann, say(fmt.Sprint(i)))
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
		_, err := send(t, s, ann, draft)
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
	_, err := send(t, s, ann, say("a"))
	require.NoError(t, err)
	b := say("b")
	b.ClientID = "b"
	first, err := send(t, s, ann, b)
	require.NoError(t, err)
	again, err := send(t, s, ann, b)
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
		got, err := send(t, s, ann, say(text))
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
		got, err := send(t, s, ann, draft)
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
	_, err := send(t, s, ann, draft)
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
	deskOne, deskTwo := newDesk(t, one, rdb), newDesk(t, two, rdb)
	const aside = `{"to":"bob","text":"café","clientId":"w1"}`
	out, err := deskOne.ask(t, ann, "chat:whisper", aside)
	require.NoError(t, err)
	var first chat.WhisperReceipt
	require.NoError(t, json.Unmarshal([]byte(out), &first))
	require.True(t, first.Delivered)
	require.Equal(t, []cast{{"bob", "chat:whisper", chat.WhisperMessage{
		ID: first.ID, Text: "café", At: first.At, ClientID: "w1", From: chat.Sender{UserID: "ann", Username: "Ann", CharacterID: "c-ann"},
	}}}, told.told)
	again, err := deskTwo.ask(t, ann, "chat:whisper", aside)
	require.NoError(t, err)
	require.Equal(t, out, again)
	require.Empty(t, toldTwo.told)

	const lost = `{"to":"nobody","text":"café","idempotencyKey":"w2"}`
	out, err = deskOne.ask(t, ann, "chat:whisper", lost)
	require.NoError(t, err)
	require.Contains(t, out, `"delivered":false`)
	again, err = deskTwo.ask(t, ann, "chat:whisper", lost)
	require.NoError(t, err)
	require.Equal(t, out, again)
	_, err = deskTwo.ask(t, ann, "chat:whisper", `{"to":"bob","text":"x","clientId":"w1"}`)
	require.ErrorIs(t, err, fault.ErrConflict)

	for raw, field := range map[string]string{
		`{"text":"x"}`: "to", `{"to":"bob"}`: "text", `{"to":"bob","text":"\n"}`: "text",
		`{"to":"` + strings.Repeat("x", 129) + `","text":"x"}`: "to",
	} {
		_, err := ask(t, one, ann, "chat:whisper", raw)
		require.ErrorIs(t, err, fault.ErrInvalid, raw)
		require.Equal(t, field, fault.Of(err).Detail("field"), raw)
	}
}

// Of a whisper whose node died nobody knows whether it was delivered: it is not sent again.
func TestAWhisperWhoseNodeDiedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	s, told := node(t, rdb, chat.Config{})
	d, raw := newDesk(t, s, rdb), `{"to":"bob","text":"x","clientId":"w"}`
	claimOfTheDead(t, rdb, s, ann, "chat:whisper", raw)
	_, err := d.ask(t, ann, "chat:whisper", raw)
	require.ErrorIs(t, err, fault.ErrTimeout)
	require.Empty(t, told.told)
}

// claimOfTheDead writes the claim of a node that died seven seconds ago.
func claimOfTheDead(t *testing.T, rdb redis.UniversalClient, s *chat.Service, p event.Player, name, raw string) {
	for _, r := range s.Routes() {
		if r.Name == name {
			request, err := r.OnceRule.Identify(&p, []byte(raw), "")
			require.NoError(t, err)
			claim := fmt.Sprintf("C%s%013dthe dead", request.Digest, time.Now().Add(-7*time.Second).UnixMilli())
			require.NoError(t, rdb.Set(t.Context(), keys.Once(name, request.Beside, p.UserID, request.Key), claim, time.Minute).Err())
		}
	}
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

	_, err = send(t, one, ann, say("first"))
	require.NoError(t, err)
	var f *fault.Fault
	require.Eventually(t, func() bool { // the other node learns of it
		_, err := send(t, two, ann, say("second"))
		f = fault.Of(err)
		return f != nil
	}, 5*time.Second, 100*time.Millisecond)
	require.Equal(t, "RATE_LIMITED", f.Code)
	require.Equal(t, "slow", f.Detail("policy"))
	require.Equal(t, int64(60_000), f.Detail("windowMs"))
	require.InDelta(t, 60_000, f.Detail("retryAfterMs"), 10_000)
	_, err = send(t, one, bob, say("another's first"))
	require.NoError(t, err)
	for range 3 {
		_, err = send(t, one, mod, say("moderators may"))
		require.NoError(t, err)
	}
	_, err = one.SetSlowMode(t.Context(), mod, chat.SlowModeRequest{Channel: "global", EveryMs: new(int64)})
	require.NoError(t, err)
	_, err = send(t, one, ann, say("over"))
	require.NoError(t, err)
}
