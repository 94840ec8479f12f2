package socketio

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/wiretest"
)

// An outcome has what a callback was called with.
type outcome struct {
	args []any
	err  error
}

func wait(t *testing.T, ch chan outcome) outcome {
	t.Helper()
	select {
	case o := <-ch:
		return o
	case <-time.After(wiretest.Patience):
		require.FailNow(t, "the callback was not called")
		panic("unreachable")
	}
}

// idOf returns the id in `42<id>["name"…`.
func idOf(packet string) string { return packet[2:strings.IndexByte(packet, '[')] }

func TestTheLibrarysAcknowledgements(t *testing.T) {
	t.Parallel()
	p := gather(t, 2, Config{})
	ch := make(chan outcome, 8)
	ack := func(args []any, err error) { ch <- outcome{args, err} }
	both := func(one, two string) {
		for i, answer := range []string{one, two} {
			q := p.clients[i].Read()
			require.True(t, strings.HasSuffix(q, `["q",1]`), q)
			if answer != "" {
				p.clients[i].Send("43" + idOf(q) + answer)
			}
		}
	}
	ask := func() { p.IO.Of("/", nil).Timeout(wiretest.Patience).EmitWithAck("q", 1)(ack) }

	ask()
	both(`["a"]`, `["a"]`)
	o := wait(t, ch)
	require.NoError(t, o.err)
	require.Equal(t, []any{jsontext.Value(`"a"`), jsontext.Value(`"a"`)}, o.args)

	ask()
	both("[]", `["b","c"]`)
	o = wait(t, ch)
	require.NoError(t, o.err)
	require.ElementsMatch(t, []any{nil, jsontext.Value(`"b"`)}, o.args, "an empty answer is an answer, two values are one")

	p.IO.Of("/", nil).Timeout(time.Second).EmitWithAck("q", 1)(ack)
	both(`[1]`, "")
	o = wait(t, ch)
	require.Error(t, o.err)
	require.Equal(t, []any{jsontext.Value("1")}, o.args)
	for _, s := range p.sockets {
		require.Eventually(t, func() bool { return s.Library().Acks().Len() == 0 }, wiretest.Patience, tick, "nothing is kept")
	}

	p.sockets[0].Library().EmitWithAck("q", 1)(ack)
	q := p.clients[0].Read()
	p.clients[0].Send("43"+idOf(q)+`["a",2]`, "43"+idOf(q)+`["again"]`)
	o = wait(t, ch)
	require.NoError(t, o.err)
	require.Equal(t, []any{jsontext.Value(`"a"`), jsontext.Value("2")}, o.args)

	p.IO.Of("/", nil).In(socket.Room(p.sockets[1].ID())).FetchSockets()(func(all []*socket.RemoteSocket, _ error) {
		require.Len(t, all, 1)
		all[0].Timeout(wiretest.Patience).EmitWithAck("q", 1)(ack)
		q := p.clients[1].Read()
		p.clients[1].Send("43" + idOf(q) + `["a","b"]`)
		o = wait(t, ch)
		require.NoError(t, o.err)
		require.Equal(t, []any{jsontext.Value(`"a"`), jsontext.Value(`"b"`)}, o.args, "one socket: all its values")

		p.sockets[1].Disconnect(true)
		all[0].Timeout(10*time.Millisecond).EmitWithAck("q", 1)(ack)
		require.Error(t, wait(t, ch).err)
	})
	alive(t, p.clients[0])
	require.Empty(t, ch, "each was called once")
}

func TestWhatCanNotBeEncodedIsAnError(t *testing.T) {
	t.Parallel()
	p := gather(t, 1, Config{})
	s := p.sockets[0]
	for _, v := range []any{math.NaN(), math.Inf(1), make(chan int), map[string]any{"x": math.NaN()}, func() {}} {
		require.Error(t, s.Emit("x", v))
		require.Error(t, s.EmitVolatile("x", v))
		_, err := Encode(1, v)
		require.Error(t, err)
		_ = s.Library().Emit("x", v) // has no way to say so; it sends nothing
		_ = p.IO.Emit("x", v)
	}
	alive(t, p.clients[0]) // it was sent nothing
	s.Disconnect(true)
	require.True(t, errors.Is(s.Emit("x"), ErrClosed))
	require.ErrorIs(t, s.EmitArgs("x", Args{}), ErrClosed)
	require.ErrorIs(t, s.Answer(1, Args{}), ErrClosed)
	require.NoError(t, s.EmitVolatile("x"), "which may be dropped")
}

func TestBinaryIsFoundAtAnyDepth(t *testing.T) {
	t.Parallel()
	p := gather(t, 2, Config{})
	require.NoError(t, p.sockets[0].Emit("bin", []byte{1, 2, 3}, map[string]any{"x": []byte("hello")}, [][]byte{{}, {255}}))
	for _, c := range p.clients[:1] {
		c.Expect(`454-["bin",{"_placeholder":true,"num":0},{"x":{"_placeholder":true,"num":1}},[{"_placeholder":true,"num":2},{"_placeholder":true,"num":3}]]`,
			"bAQID", "baGVsbG8=", "b", "b/w==")
	}
	_ = p.IO.Emit("bin", []byte{1}, "plain", 5)
	for _, c := range p.clients {
		c.Expect(`451-["bin",{"_placeholder":true,"num":0},"plain",5]`, "bAQ==")
	}
}

func TestAskGathersAnswers(t *testing.T) {
	t.Parallel()
	p := gather(t, 2, Config{})
	ch := make(chan outcome, 1)
	ask := func(timeout time.Duration, arg any) {
		answers, err := Ask(p.IO.Of("/", nil), nil, nil, timeout, "q", arg)
		ch <- outcome{answers, err}
	}
	go ask(wiretest.Patience, 1)
	for i, answer := range []string{`["a","more"]`, `[]`} {
		p.clients[i].Send("43" + idOf(p.clients[i].Read()) + answer)
	}
	o := wait(t, ch)
	require.NoError(t, o.err)
	require.ElementsMatch(t, []any{jsontext.Value(`"a"`), nil}, o.args)

	go ask(100*time.Millisecond, 1) // one does not answer
	p.clients[0].Read()
	p.clients[1].Send("43" + idOf(p.clients[1].Read()) + `["b"]`)
	o = wait(t, ch)
	require.ErrorIs(t, o.err, errAnswersMissing)
	require.Equal(t, []any{jsontext.Value(`"b"`)}, o.args)

	go ask(time.Second, math.NaN())
	require.Error(t, wait(t, ch).err, "it can not be sent")
}
