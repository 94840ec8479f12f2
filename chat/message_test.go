package chat_test

import (
	"context"
	stdjson "encoding/json"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redistest"
)

// AppendJSON writes what the struct tags say, for any string.
func TestAppendJSONIsWhatTheTagsSay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String()
		m := chat.Message{
			ID: s.Draw(t, "id"), Channel: s.Draw(t, "channel"), Text: s.Draw(t, "text"), At: rapid.Int64().Draw(t, "at"), ClientID: s.Draw(t, "clientId"),
			From: chat.Sender{UserID: s.Draw(t, "userId"), Username: s.Draw(t, "username"), CharacterID: s.Draw(t, "characterId")},
		}
		want, err := json.Marshal(m)
		require.NoError(t, err)
		require.Equal(t, string(want), string(m.AppendJSON(nil)))
		r := chat.Receipt{ID: m.ID, At: m.At}
		want, err = json.Marshal(r)
		require.NoError(t, err)
		require.Equal(t, string(want), string(r.AppendJSON(nil)))
	})
}

func TestAppendJSONOfStrangeStrings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"quotes and backslashes": {`"\`, `"\"\\"`},
		"controls":               {"\x00\b\t\n\f\r\x1f\x7f", "\"\\u0000\\b\\t\\n\\f\\r\\u001f\x7f\""},
		"line separators":        {"\u2028\u2029", "\"\u2028\u2029\""},
		"not UTF-8":              {"a\xffb\xc3", "\"a\ufffdb\ufffd\""},
		"beyond the first plane": {"😀", `"😀"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := (&chat.Message{Text: c.text, From: chat.Sender{Username: c.text}, ClientID: c.text}).AppendJSON(nil)
			require.Contains(t, string(b), `"text":`+c.want+`,`)
			require.True(t, utf8.Valid(b))
			var back chat.Message
			require.NoError(t, stdjson.Unmarshal(b, &back))
			require.Equal(t, strings.ToValidUTF8(c.text, "\ufffd"), back.Text)
		})
	}
}

func TestEncodingAllocatesNothing(t *testing.T) {
	m := &chat.Message{
		ID: "01JZZZZZZZZZZZZZZZZZZZZZZZ", Channel: "zone:12", Text: `say "hello" to é`, At: 1_700_000_000_000, ClientID: "c-1",
		From: chat.Sender{UserID: "u", Username: "n", CharacterID: "c"},
	}
	dst := make([]byte, 0, 1024)
	require.Zero(t, testing.AllocsPerRun(100, func() { dst = m.AppendJSON(dst[:0]) }))
	r := chat.Receipt{ID: m.ID, At: m.At}
	require.Zero(t, testing.AllocsPerRun(100, func() { dst = r.AppendJSON(dst[:0]) }))
}

// silent is a gateway that does nothing, so that only the allocations of the chat are counted.
type silent struct{ dst []byte }

func (s *silent) Join(context.Context, string, string) (int, error)  { return 1, nil }
func (s *silent) Leave(context.Context, string, string) (int, error) { return 0, nil }
func (s *silent) In(string, string) bool                             { return true }
func (s *silent) Count(string, string) int                           { return 0 }
func (s *silent) RoomsOf(string, string) []string                    { return nil }
func (s *silent) RoomsHere(string) []string                          { return nil }
func (s *silent) MembersHere(string) []event.Player                  { return nil }
func (s *silent) Fresh(string) (event.Player, bool)                  { return event.Player{}, false }
func (s *silent) Emit(string, string, any)                           {}
func (s *silent) Here(string) []event.Player                         { return nil }
func (s *silent) CastUser(context.Context, string, string, any) (int, bool, error) {
	return 0, true, nil
}

func (s *silent) Cast(_ context.Context, _, _ string, payload any) error {
	s.dst = payload.(event.Appender).AppendJSON(s.dst[:0])
	return nil
}

// The three are the message, its id and the name of its room. Decoding the payload adds more.
func TestSendAllocatesThrice(t *testing.T) {
	s := chat.New(nil, &silent{dst: make([]byte, 0, 1024)}, chat.Config{})
	ctx := context.Background()
	draft := chat.Draft{Channel: "zone:12", Text: "gg"}
	require.LessOrEqual(t, testing.AllocsPerRun(1000, func() {
		if _, err := s.Send(ctx, ann, draft); err != nil {
			t.Error(err)
		}
	}), 3.0)
}

func BenchmarkMessage(b *testing.B) {
	s := chat.New(nil, &silent{dst: make([]byte, 0, 1024)}, chat.Config{})
	route := s.Routes()[2]
	raw := []byte(`{"channel":"zone:12","text":"the quick brown fox jumps over the lazy dog","clientId":"c-17"}`)
	dst := make([]byte, 0, 1024)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := route.Serve(ctx, &ann, raw, dst[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSend(b *testing.B) {
	s := chat.New(nil, &silent{dst: make([]byte, 0, 1024)}, chat.Config{})
	draft := chat.Draft{Channel: "zone:12", Text: "the quick brown fox jumps over the lazy dog", ClientID: "c-17"}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Send(ctx, ann, draft); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKept sends messages that Redis keeps, from 64 callers, without and with a clientId.
func BenchmarkKept(b *testing.B) {
	for _, named := range []bool{false, true} {
		b.Run(map[bool]string{false: "plain", true: "clientId"}[named], func(b *testing.B) {
			s := chat.New(redistest.Client(b), quiet{}, chat.Config{RedisTimeout: time.Minute})
			defer s.Close()
			var n atomic.Int64
			b.SetParallelism(64)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := n.Add(1)
					draft := chat.Draft{Channel: "zone:" + strconv.FormatInt(i%50, 10), Text: "the quick brown fox jumps over the lazy dog"}
					if named {
						draft.ClientID = strconv.FormatInt(i, 10)
					}
					if _, err := send(b, s, ann, draft); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// quiet is a gateway without receivers, which any number of goroutines may use.
type quiet struct{}

func (quiet) In(string, string) bool                             { return true }
func (quiet) Join(context.Context, string, string) (int, error)  { return 1, nil }
func (quiet) Leave(context.Context, string, string) (int, error) { return 0, nil }
func (quiet) Count(string, string) int                           { return 0 }
func (quiet) RoomsOf(string, string) []string                    { return nil }
func (quiet) RoomsHere(string) []string                          { return nil }
func (quiet) MembersHere(string) []event.Player                  { return nil }
func (quiet) Fresh(string) (event.Player, bool)                  { return event.Player{}, false }
func (quiet) Emit(string, string, any)                           {}
func (quiet) Here(string) []event.Player                         { return nil }
func (quiet) Cast(context.Context, string, string, any) error    { return nil }
func (quiet) CastUser(context.Context, string, string, any) (int, bool, error) {
	return 0, true, nil
}
