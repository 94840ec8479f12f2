package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// judgeFunc is a ConnectJudge.
type judgeFunc func(ctx context.Context, p event.Player) (Admission, error)

func (f judgeFunc) JudgeConnect(ctx context.Context, p event.Player, _ bool) (Admission, error) {
	return f(ctx, p)
}

// slowBook is a book that takes all the time that it has to find a session.
type slowBook struct {
	*book
	isSlow atomic.Bool
}

func (b *slowBook) Authenticate(ctx context.Context, auth []byte, h http.Header) (Session, error) {
	if b.isSlow.Load() {
		<-ctx.Done()
	}
	return b.book.Authenticate(ctx, auth, h)
}

// roomsFunc is a RoomJudge.
type roomsFunc func(ctx context.Context) error

func (f roomsFunc) JudgeRooms(ctx context.Context, _ event.Player, _ []string) ([]RefusedRoom, error) {
	return nil, f(ctx)
}

// A session that is read late, and a judge that thinks for long, take no time from what comes
// behind them.
func TestEachPartOfAnAdmissionHasItsOwnTime(t *testing.T) {
	t.Parallel()
	const admitTimeout = 200 * time.Millisecond
	slow := &slowBook{}
	h := recoveryHalls(t, func(c *Config) {
		c.Socket.AdmitTimeout = admitTimeout
		if slow.book == nil {
			slow.book = c.Auth.(*book)
			c.Auth = slow
		}
		c.ConnectJudge = judgeFunc(func(ctx context.Context, _ event.Player) (Admission, error) {
			if !slow.isSlow.Load() {
				return Admission{}, nil
			}
			select {
			case <-ctx.Done():
				return Admission{}, ctx.Err()
			case <-time.After(2 * admitTimeout): // as a program that thinks for long
				return Admission{}, nil
			}
		})
		c.Rooms = roomsFunc(func(ctx context.Context) error { return ctx.Err() })
	})
	ann := h[0].visit(t, "s-ann", nil)
	ann.Abort()
	require.Eventually(t, func() bool { return h[0].Connections() == 0 }, wiretest.Patience, tick)
	slow.isSlow.Store(true)
	back := h[0].visit(t, "s-ann", ann)
	require.True(t, back.isRecovered)
	require.Equal(t, ann.sid, back.sid)
}

// The judge is asked about clients that nothing else keeps out, and about one handshake again only
// as far as the policy of handshakes allows.
func TestTheJudgeIsAskedNoMoreThanNeeded(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	h := open(t, func(c *Config) {
		c.MaxPerUser, c.ConnectPolicy = 1, "connect"
		c.ConnectJudge = judgeFunc(func(_ context.Context, p event.Player) (Admission, error) {
			asked.Add(1)
			if p.UserID == "u1" {
				return Admission{}, fault.New("WORLD_CLOSED", "The world is closed.")
			}
			return Admission{}, nil
		})
	})
	h.enter(t, "ann")
	require.EqualValues(t, 1, asked.Load())
	second := wiretest.Open(t, h.url, "websocket")
	second.Send(`40{"sessionId":"s-ann"}`)
	require.Contains(t, second.Read(), "TOO_MANY_CONNECTIONS")
	require.EqualValues(t, 1, asked.Load(), "it has no place")
	h.book.set(func() {
		s := h.book.sessions["s-u2"]
		s.UnlessReplaces = errCrowded
		h.book.sessions["s-u2"] = s
	})
	third := wiretest.Open(t, h.url, "websocket")
	third.Send(`40{"sessionId":"s-u2"}`)
	require.Contains(t, third.Read(), "TOO_MANY_CONNECTIONS")
	require.EqualValues(t, 1, asked.Load(), "it has no place anywhere")

	const free = 2 // of the policy, beside the handshake's own
	again := wiretest.Open(t, h.url, "websocket")
	for i := range 1 + free {
		again.Send(`40{"sessionId":"s-u1"}`)
		require.Contains(t, again.Read(), "WORLD_CLOSED", fmt.Sprint(i))
	}
	again.Send(`40{"sessionId":"s-u1"}`)
	again.Rest()
	require.EqualValues(t, 1+1+free, asked.Load())
	h.lines(t, "connection refused", 2+1+free+1)
}

// chat:left tells why a channel that the judge named could not be joined.
func TestChannelsThatCanNotBeJoined(t *testing.T) {
	t.Parallel()
	faults := map[string]error{
		"guild:1": fault.ErrForbidden, "zone:1": fault.Unavailable("chat", time.Second, nil), "zone:2": fmt.Errorf("chat: %w", context.DeadlineExceeded),
		"global": fault.New("CHAT_BANNED", "You have been banned."), "zone:3": fmt.Errorf("a broken script"), "zone:4": fault.New("TOO_MANY_CHANNELS", "Too many."),
	}
	codes := map[string]string{
		"guild:1": "NOT_IN_CHANNEL", "zone:1": "UNAVAILABLE", "zone:2": "TIMEOUT", "global": "CHAT_BANNED", "zone:3": "INTERNAL", "zone:4": "TOO_MANY_CHANNELS",
	}
	h := open(t, func(c *Config) {
		c.ConnectJudge = judgeFunc(func(context.Context, event.Player) (a Admission, _ error) {
			for channel := range faults {
				a.Channels = append(a.Channels, channel)
			}
			return a, nil
		})
		c.JoinChannel = func(_ context.Context, _ event.Player, channel string) error { return faults[channel] }
	})
	c, _ := h.enter(t, "ann")
	for range faults {
		var packet []json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(c.Read()[2:]), &packet))
		var left struct{ Channel, Code string }
		require.NoError(t, json.Unmarshal(packet[1], &left))
		require.Equal(t, `"chat:left"`, string(packet[0]))
		require.Equal(t, codes[left.Channel], left.Code, left.Channel)
		delete(codes, left.Channel)
	}
	require.Empty(t, codes)
}

// A cast that Redis can not take is an error, though players on this node hear it.
func TestAPushThatFails(t *testing.T) {
	t.Parallel()
	h := recoveryHalls(t)[0]
	require.NoError(t, h.SendPush(Push{Room: "r", Event: "x", JSON: []byte("1")}))
	large := []byte(`"` + strings.Repeat("x", 600<<10) + `"`)
	require.Error(t, h.SendPush(Push{Room: "r", Event: "x", JSON: large}))
}

// What the judge has added stays when the player chooses a character, and when the session's roles
// are read again.
func TestAGrantOutlivesTheChoiceOfACharacter(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *Config) {
		c.ConnectJudge = judgeFunc(func(context.Context, event.Player) (Admission, error) {
			return Admission{Roles: []string{"admin"}, Rooms: []string{"game:lobby"}, Data: []byte(`{"motd":"hello"}`)}, nil
		})
	})
	c, conn := h.enter(t, "ann")
	const add = `{"a":1,"b":2}`
	chosen := ask(t, c, "session:character", `{"characterId":"hero"}`)
	require.Contains(t, chosen, `"characterId":"hero"`)
	require.Contains(t, chosen, `"roles":["admin"]`)
	require.Contains(t, chosen, `"rooms":["game:lobby"],"data":{"motd":"hello"}`)
	require.Contains(t, ask(t, c, "game:admin", add), `"ok":true`)
	h.setRoles("s-ann", "vip")
	h.age(conn, maxRoleAge)
	c.Send(`427["game:admin",` + add + `]`)
	require.Contains(t, c.Read(), `"characterId":"hero","roles":["vip","admin"]`)
	require.Contains(t, c.Read(), `42["limits",`)
	require.Contains(t, c.Read(), `"ok":true`)
	require.NoError(t, h.Cast(t.Context(), "game:lobby", "x", 1))
	require.Equal(t, `42["x",1]`, c.Read())
}
