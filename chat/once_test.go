package chat_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// A message that was said is answered so when it is sent again, on a node whose channel the player
// has not joined again yet; one that was not said is refused, and may be sent with its key after
// the join.
func TestTheAnswerComesBeforeMembership(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	a, _ := node(t, rdb, chat.Config{})
	b, heard := node(t, rdb, chat.Config{})
	first, second := newDesk(t, a, rdb), newDesk(t, b, rdb)
	said, err := first.ask(t, ann, "chat:message", `{"channel":"global","text":"x","clientId":"c"}`)
	require.NoError(t, err)
	_, err = b.Leave(t.Context(), ann, chat.Channel{Channel: "global"})
	require.NoError(t, err)
	again, err := second.ask(t, ann, "chat:message", `{"channel":"global","text":"x","clientId":"c"}`)
	require.NoError(t, err)
	require.Equal(t, said, again)
	const fresh = `{"channel":"global","text":"y","idempotencyKey":"d"}`
	_, err = second.ask(t, ann, "chat:message", fresh)
	require.ErrorIs(t, err, chat.ErrNotInChannel)
	_, err = b.Join(t.Context(), ann, chat.Channel{Channel: "global"})
	require.NoError(t, err)
	_, err = second.ask(t, ann, "chat:message", fresh)
	require.NoError(t, err)
	require.Len(t, heard.heard(), 1)
}

// The script of a message whose holder lost its claim says nothing, and the player gets the answer
// of the holder that took the claim.
func TestALateMessageIsNotSaid(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	s, heard := node(t, rdb, chat.Config{})
	d, raw := newDesk(t, s, rdb), `{"channel":"global","text":"x","idempotencyKey":"c"}`
	claimOfTheDead(t, rdb, s, ann, "chat:message", raw)
	_, err := d.ask(t, ann, "chat:message", raw) // takes the claim
	require.NoError(t, err)
	require.Len(t, heard.heard(), 1)
	record := keys.Once("chat:message", keys.ChatHistory("global"), "ann", "c")
	digest := rdb.Get(t.Context(), record).Val()[1:17]
	late := &event.Claim{Request: event.Request{Key: "c", Digest: digest}, Record: record, Token: "the dead", Keep: time.Minute}
	_, err = s.Send(event.WithClaim(t.Context(), late), ann, say("x"))
	require.NoError(t, err)
	require.True(t, late.IsRecorded(), "it is the answer of the other holder")
	require.NoError(t, rdb.Set(t.Context(), record, "C"+digest+"0000000000000another", time.Minute).Err())
	_, err = s.Send(event.WithClaim(t.Context(), late), ann, say("x"))
	require.ErrorIs(t, err, fault.ErrLocked)
	require.Len(t, heard.heard(), 1)
	require.Equal(t, []string{"x"}, texts(t, s, 0))
}

// Each act of a moderator is done once for its key, on two nodes, and a late script of a node that
// died changes nothing.
func TestModeratorsActsAreDoneOnce(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var acts int
	a, told := node(t, rdb, chat.Config{Audit: func(chat.ModeratorAction) { acts++ }})
	b, toldB := node(t, rdb, chat.Config{})
	first, second := newDesk(t, a, rdb), newDesk(t, b, rdb)
	draft := say("regret")
	draft.ClientID = "said"
	said, err := send(t, a, ann, draft)
	require.NoError(t, err)
	before := len(told.heard())
	for i, c := range []struct{ name, raw string }{
		{"chat:mute", `"userId":"bob","forMs":60000`},
		{"chat:unmute", `"userId":"bob"`},
		{"chat:ban", `"userId":"bob","channel":"zone:1","forMs":60000,"reason":"spam"`},
		{"chat:unban", `"userId":"bob","channel":"zone:1"`},
		{"chat:delete", `"channel":"global","id":"` + said.ID + `"`},
		{"chat:slow", `"channel":"global","everyMs":1000`},
		{"chat:slow", `"channel":"zone:7","everyMs":0`},
	} {
		raw := fmt.Sprintf(`{%s,"idempotencyKey":"k%d"}`, c.raw, i)
		if i%2 == 0 { // the first node to try it died before its script ran
			claimOfTheDead(t, rdb, a, mod, c.name, raw)
		}
		out, err := first.ask(t, mod, c.name, raw)
		require.NoError(t, err, c.name)
		version := rdb.HGet(t.Context(), keys.ChatRules, ":version").Val()
		for _, d := range []desk{second, first} {
			again, err := d.ask(t, mod, c.name, raw)
			require.NoError(t, err, c.name)
			require.Equal(t, out, again, c.name)
		}
		require.Equal(t, i+1, acts, c.name)
		require.Equal(t, version, rdb.HGet(t.Context(), keys.ChatRules, ":version").Val(), c.name)
		if c.name == "chat:unmute" { // it would be NOT_FOUND
			_, err = second.ask(t, mod, c.name, `{"userId":"bob","idempotencyKey":"other"}`)
			require.ErrorIs(t, err, fault.ErrNotFound)
			_, err = first.ask(t, mod, c.name, `{"userId":"bob","idempotencyKey":"other"}`)
			require.ErrorIs(t, err, fault.ErrNotFound)
		}
	}
	require.Len(t, told.told, 4)
	require.Len(t, told.heard(), before+3)
	require.Empty(t, toldB.told)
}

// A bad key is refused by its field: nothing is said, and nothing is recorded.
func TestBadKeys(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	s, heard := node(t, rdb, chat.Config{})
	d := newDesk(t, s, rdb)
	for name, c := range map[string]struct{ key, field string }{
		"a number":            {`"idempotencyKey":7`, "idempotencyKey"},
		"a list":              {`"idempotencyKey":["k"]`, "idempotencyKey"},
		"an object":           {`"idempotencyKey":{}`, "idempotencyKey"},
		"true":                {`"idempotencyKey":true`, "idempotencyKey"},
		"null":                {`"idempotencyKey":null`, "idempotencyKey"},
		"empty":               {`"idempotencyKey":""`, "idempotencyKey"},
		"65 characters":       {`"idempotencyKey":"` + fmt.Sprintf("%065d", 1) + `"`, "idempotencyKey"},
		"a line break":        {`"idempotencyKey":"a\nb"`, "idempotencyKey"},
		"a null byte":         {`"idempotencyKey":"a\u0000"`, "idempotencyKey"},
		"a text that turns":   {`"idempotencyKey":"a\u202eb"`, "idempotencyKey"},
		"in escapes":          {`"\u0069dempotencyKey":"a\u0007"`, "idempotencyKey"},
		"twice":               {`"idempotencyKey":"a","idempotencyKey":"b"`, "idempotencyKey"},
		"the old name, wrong": {`"clientId":"a\u0001"`, "clientId"},
	} {
		_, err := d.ask(t, ann, "chat:message", `{"channel":"global","text":"x",`+c.key+`}`)
		require.ErrorIs(t, err, fault.ErrInvalid, name)
		require.Equal(t, c.field, fault.Of(err).Detail("field"), name)
	}
	_, err := d.ask(t, ann, "chat:message", `{"channel":"nowhere","text":"x","idempotencyKey":"k"}`)
	require.Equal(t, "channel", fault.Of(err).Detail("field"))
	require.Empty(t, heard.heard())
	require.Zero(t, rdb.DBSize(t.Context()).Val())
	for _, key := range []string{`"clientId":""`, `"idempotencyKey":"` + fmt.Sprintf("%064d", 1) + `"`, `"idempotencyKey":"čau 👋"`} {
		_, err := d.ask(t, ann, "chat:message", `{"channel":"global","text":"x",`+key+`}`)
		require.NoError(t, err, key)
	}
	require.Len(t, heard.heard(), 3)
}
