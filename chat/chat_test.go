package chat_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

var (
	ann = event.Player{UserID: "ann", Username: "Ann", CharacterID: "c-ann", Conn: "conn-ann"}
	bob = event.Player{UserID: "bob", Username: "Bob", Conn: "conn-bob"}
)

// ask sends an event as a client does: by its name, with raw JSON.
func ask(t testing.TB, s *chat.Service, p event.Player, name, raw string) (string, error) {
	t.Helper()
	for _, r := range s.Routes() {
		if r.Name == name {
			out, err := r.Serve(context.Background(), &p, []byte(raw), nil)
			return string(out), err
		}
	}
	t.Fatalf("no route %s", name)
	return "", nil
}

func TestJoinAndLeaveAreIdempotent(t *testing.T) {
	t.Parallel()
	s := chat.New(nil, newRooms(), chat.Config{})
	for _, step := range []struct {
		who         event.Player
		name, reply string
	}{
		{ann, "chat:join", `{"channel":"zone:7","members":1}`},
		{ann, "chat:join", `{"channel":"zone:7","members":1}`},
		{bob, "chat:join", `{"channel":"zone:7","members":2}`},
		{ann, "chat:leave", `{"channel":"zone:7","members":1}`},
		{ann, "chat:leave", `{"channel":"zone:7","members":1}`},
		{bob, "chat:leave", `{"channel":"zone:7","members":0}`},
	} {
		reply, err := ask(t, s, step.who, step.name, `{"channel":"zone:7"}`)
		require.NoError(t, err)
		require.Equal(t, step.reply, reply)
	}
}

func TestMessageReachesTheRoom(t *testing.T) {
	t.Parallel()
	r := newRooms()
	s := chat.New(nil, r, chat.Config{Now: func() time.Time { return time.UnixMilli(1_700_000_000_123) }})
	_, err := s.Join(t.Context(), ann, chat.Channel{Channel: "global"})
	require.NoError(t, err)

	got, err := s.Send(t.Context(), ann, chat.Draft{Channel: "global", Text: "hi", ClientID: "c1"})
	require.NoError(t, err)
	require.Equal(t, int64(1_700_000_000_123), got.At)
	id, err := ulid.ParseStrict(got.ID)
	require.NoError(t, err)
	require.Equal(t, uint64(got.At), id.Time())

	require.Equal(t, []cast{{"chat:global", "chat:message", &chat.Message{
		ID: got.ID, Channel: "global", Text: "hi", At: got.At, ClientID: "c1",
		From: chat.Sender{UserID: "ann", Username: "Ann", CharacterID: "c-ann"},
	}}}, r.casts)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ event, raw, code, field string }{
		"no channel":           {"chat:join", `{}`, "INVALID", "channel"},
		"unknown kind":         {"chat:join", `{"channel":"room:1"}`, "INVALID", "channel"},
		"no id":                {"chat:join", `{"channel":"zone:"}`, "INVALID", "channel"},
		"global with an id":    {"chat:join", `{"channel":"global:1"}`, "INVALID", "channel"},
		"two ids":              {"chat:join", `{"channel":"zone:1:2"}`, "INVALID", "channel"},
		"id of 65":             {"chat:join", `{"channel":"zone:` + strings.Repeat("a", 65) + `"}`, "INVALID", "channel"},
		"a letter beyond":      {"chat:join", `{"channel":"zone:é"}`, "INVALID", "channel"},
		"other case":           {"chat:join", `{"channel":"Global"}`, "INVALID", "channel"},
		"leave nonsense":       {"chat:leave", `{"channel":"x"}`, "INVALID", "channel"},
		"speak in nonsense":    {"chat:message", `{"channel":"x","text":"hi"}`, "INVALID", "channel"},
		"not in the channel":   {"chat:message", `{"channel":"global","text":"hi"}`, "NOT_IN_CHANNEL", ""},
		"no text":              {"chat:message", `{"channel":"zone:1"}`, "INVALID", "text"},
		"empty text":           {"chat:message", `{"channel":"zone:1","text":""}`, "INVALID", "text"},
		"only spaces":          {"chat:message", `{"channel":"zone:1","text":" \u00a0\u3000"}`, "INVALID", "text"},
		"only invisible":       {"chat:message", `{"channel":"zone:1","text":"\u200b\u2060\ufeff\u3164"}`, "INVALID", "text"},
		"a Braille blank":      {"chat:message", `{"channel":"zone:1","text":"\u2800\u2800 "}`, "INVALID", "text"},
		"nine marks":           {"chat:message", `{"channel":"zone:1","text":"q` + strings.Repeat("\u0323", 9) + `"}`, "INVALID", "text"},
		"500 and a closer":     {"chat:message", `{"channel":"zone:1","text":"\u202e` + strings.Repeat("é", 499) + `"}`, "INVALID", "text"},
		"a line break":         {"chat:message", `{"channel":"zone:1","text":"a\nb"}`, "INVALID", "text"},
		"a null":               {"chat:message", `{"channel":"zone:1","text":"a\u0000"}`, "INVALID", "text"},
		"delete":               {"chat:message", `{"channel":"zone:1","text":"a\u007f"}`, "INVALID", "text"},
		"a C1 control":         {"chat:message", `{"channel":"zone:1","text":"a\u0085"}`, "INVALID", "text"},
		"501 characters":       {"chat:message", `{"channel":"zone:1","text":"` + strings.Repeat("é", 501) + `"}`, "INVALID", "text"},
		"far too long":         {"chat:message", `{"channel":"zone:1","text":"` + strings.Repeat("e\u0301", 100_000) + `"}`, "INVALID", "text"},
		"clientId of 65":       {"chat:message", `{"channel":"zone:1","text":"a","clientId":"` + strings.Repeat("x", 65) + `"}`, "INVALID", "clientId"},
		"clientId is a number": {"chat:message", `{"channel":"zone:1","text":"a","clientId":7}`, "INVALID", "clientId"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRooms()
			s := chat.New(nil, r, chat.Config{})
			_, err := ask(t, s, ann, "chat:join", `{"channel":"zone:1"}`)
			require.NoError(t, err)
			_, err = ask(t, s, ann, c.event, c.raw)
			f := fault.Of(err)
			require.NotNil(t, f, "the event was accepted")
			require.Equal(t, c.code, f.Code, f)
			if c.field != "" {
				require.Equal(t, c.field, f.Detail("field"))
			}
			require.Empty(t, r.casts)
		})
	}
}

func TestTextIsNormalised(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, out string }{
		"plain":                        {"hello", "hello"},
		"spaces stay":                  {"  a  ", "  a  "},
		"composed":                     {"cafe\u0301", "café"},
		"500 of two code points each":  {strings.Repeat("e\u0301", 500), strings.Repeat("é", 500)},
		"500 of four bytes":            {strings.Repeat("😀", 500), strings.Repeat("😀", 500)},
		"a family keeps its joiners":   {"👩\u200d👧", "👩\u200d👧"},
		"Hangul":                       {"\u1112\u1161\u11ab", "한"},
		"line separator is no control": {"a\u2028b", "a\u2028b"},
		"markup is only text":          {`<b>"\`, `<b>"\`},
		"eight marks":                  {"q" + strings.Repeat("\u0323", 8), "q" + strings.Repeat("\u0323", 8)},
		"an override":                  {"ann\u202egnp.exe", "ann\u202egnp.exe\u202c"},
		"an override that is closed":   {"a\u202eb\u202cc", "a\u202eb\u202cc"},
		"an isolate":                   {"a\u2067b", "a\u2067b\u2069"},
		"an isolate that is closed":    {"a\u2068b\u2069c", "a\u2068b\u2069c"},
		"all of them":                  {"\u202a\u2066\u202b\u2068\u202dx", "\u202a\u2066\u202b\u2068\u202dx\u202c\u2069\u202c\u2069\u202c"},
		"an isolate ends what it has":  {"\u2067\u202ea\u2069b", "\u2067\u202ea\u2069b"},
		"closers without openers":      {"a\u202c\u2069b", "a\u202c\u2069b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRooms()
			s := chat.New(nil, r, chat.Config{})
			_, err := s.Send(t.Context(), event.Player{UserID: "bot"}, chat.Draft{Channel: "global", Text: c.in})
			require.NoError(t, err)
			require.Equal(t, c.out, r.casts[0].payload.(*chat.Message).Text)
		})
	}
}

func TestAConnectionIsInFiftyChannelsAtMost(t *testing.T) {
	t.Parallel()
	r := newRooms()
	_, _ = r.Join(t.Context(), ann.Conn, "combat:1") // other rooms do not count
	s := chat.New(nil, r, chat.Config{})
	join := func(p event.Player, i int) error {
		_, err := s.Join(t.Context(), p, chat.Channel{Channel: fmt.Sprintf("zone:%d", i)})
		return err
	}
	for i := range 50 {
		require.NoError(t, join(ann, i))
	}
	err := join(ann, 50)
	require.ErrorIs(t, err, chat.ErrTooManyChannels)
	require.Equal(t, 50, fault.Of(err).Detail("limit"))
	require.NoError(t, join(ann, 7), "joining a channel again does not count")
	require.NoError(t, join(bob, 50), "another connection has a limit of its own")
	_, err = s.Leave(t.Context(), ann, chat.Channel{Channel: "zone:0"})
	require.NoError(t, err)
	require.NoError(t, join(ann, 50))
}

// guild lets only one user join guild:wolves.
type guild struct {
	user string
	err  error
}

func (g guild) MayJoin(_ context.Context, p event.Player, channel string) (bool, error) {
	return channel != "guild:wolves" || p.UserID == g.user, g.err
}

func TestMembershipDecides(t *testing.T) {
	t.Parallel()
	r := newRooms()
	s := chat.New(nil, r, chat.Config{Membership: guild{user: "ann"}})
	wolves := chat.Channel{Channel: "guild:wolves"}
	_, err := s.Join(t.Context(), ann, wolves)
	require.NoError(t, err)
	_, err = s.Join(t.Context(), bob, wolves)
	require.ErrorIs(t, err, fault.ErrForbidden)
	require.False(t, r.In(bob.Conn, "chat:guild:wolves"))
	_, err = s.Join(t.Context(), bob, chat.Channel{Channel: "global"})
	require.NoError(t, err)

	down := chat.New(nil, r, chat.Config{Membership: guild{user: "ann", err: fault.Unavailable("guild", time.Second, nil)}})
	_, err = down.Join(t.Context(), ann, wolves)
	require.ErrorIs(t, err, fault.ErrUnavailable, "nobody may join while the membership is not known")
}

func TestCallersWithoutASocket(t *testing.T) {
	t.Parallel()
	r := newRooms()
	s := chat.New(nil, r, chat.Config{Membership: guild{user: "ann"}})
	web := func(p event.Player) event.Player { p.Conn = ""; return p }
	say := chat.Draft{Channel: "guild:wolves", Text: "hi"}

	_, err := s.Send(t.Context(), web(ann), say)
	require.NoError(t, err, "a caller without a connection may speak where they may join")
	_, err = s.Send(t.Context(), web(bob), say)
	require.ErrorIs(t, err, fault.ErrForbidden)
	require.Len(t, r.casts, 1)

	_, err = s.Join(t.Context(), web(ann), chat.Channel{Channel: "global"})
	require.ErrorIs(t, err, fault.ErrForbidden, "a caller without a connection can not join")
	_, err = s.Leave(t.Context(), web(ann), chat.Channel{Channel: "global"})
	require.ErrorIs(t, err, fault.ErrForbidden)
}

func TestTheGatewaysErrorsAreTheAnswer(t *testing.T) {
	t.Parallel()
	r := newRooms()
	s := chat.New(nil, r, chat.Config{})
	_, err := s.Join(t.Context(), ann, chat.Channel{Channel: "global"})
	require.NoError(t, err)
	r.fail = errors.New("gone")
	_, err = s.Join(t.Context(), ann, chat.Channel{Channel: "zone:1"})
	require.ErrorIs(t, err, r.fail)
	_, err = s.Leave(t.Context(), ann, chat.Channel{Channel: "zone:1"})
	require.ErrorIs(t, err, r.fail)
	_, err = s.Send(t.Context(), ann, chat.Draft{Channel: "global", Text: "hi"})
	require.ErrorIs(t, err, r.fail)
}

func TestIdsAscendWhenTheClockStepsBack(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.UnixMilli(1_000_000)
	s := chat.New(nil, newRooms(), chat.Config{Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(-time.Second)
		return now
	}})
	last := chat.Receipt{}
	for range 100 {
		got, err := s.Send(t.Context(), event.Player{}, chat.Draft{Channel: "global", Text: "x"})
		require.NoError(t, err)
		require.Greater(t, got.ID, last.ID)
		require.GreaterOrEqual(t, got.At, last.At)
		last = got
	}
}

func TestWhoMayCallWhat(t *testing.T) {
	t.Parallel()
	for _, r := range chat.New(nil, newRooms(), chat.Config{}).Routes() {
		switch r.Name {
		case "chat:message", "chat:whisper", "chat:report":
			require.Equal(t, []string{"chat"}, r.Limits, r.Name)
			require.Empty(t, r.Roles, r.Name)
		case "chat:join", "chat:leave", "user:ignore", "user:unignore":
			require.Equal(t, []string{"rooms"}, r.Limits, r.Name)
			require.Empty(t, r.Roles, r.Name)
		case "chat:history", "user:ignored":
			require.Equal(t, []string{"reads"}, r.Limits, r.Name)
			require.Empty(t, r.Roles, r.Name)
		default:
			require.Equal(t, []string{"moderation"}, r.Limits, r.Name)
			require.Equal(t, []string{"moderator", "admin"}, r.Roles, r.Name)
		}
	}
}
