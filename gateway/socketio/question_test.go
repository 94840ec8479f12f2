package socketio

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// seven is the question of these tests.
func seven(timeout time.Duration) Question {
	return Question{Name: "q", Args: Args{JSON: []byte("7")}, Timeout: timeout}
}

// jsonOf returns what clients answered.
func jsonOf(got Answers) (all []string) {
	for _, a := range got.All {
		all = append(all, string(a.Args.JSON))
	}
	return all
}

func TestAClientAnswersOnce(t *testing.T) {
	t.Parallel()
	p := gather(t, 3, Config{})
	s, c := p.sockets[0], p.clients[0]
	for answer, want := range map[string]string{`[{"b":[1]}]`: `{"b":[1]}`, "[]": "", "[null]": "null", `["a","more"]`: `"a"`} {
		asking := s.StartAsk(seven(wiretest.Patience))
		id := idOf(c.Read())
		c.Send("43"+id+answer, "43"+id+`["again"]`)
		got := asking.Wait(t.Context())
		require.Equal(t, []string{want}, jsonOf(got))
		require.Equal(t, s.ID(), got.All[0].Conn)
		require.Equal(t, answer == `["a","more"]`, got.All[0].HasMore)
		require.False(t, got.Late)
	}

	got := s.StartAsk(seven(20 * time.Millisecond)).Wait(t.Context())
	require.Equal(t, Answers{Asked: 1, Late: true}, got)
	c.Send("43"+idOf(c.Read())+"[]", "43999[]") // too late, and to nothing
	alive(t, c)
	require.Zero(t, p.openQuestions.Load(), "nothing is kept")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.True(t, s.StartAsk(seven(wiretest.Patience)).Wait(ctx).Late, "nobody waits longer than its context")
	c.Read()

	n := p.Of("/")
	require.Equal(t, Answers{}, n.StartAsk("nobody", seven(wiretest.Patience)).Wait(t.Context()))
	p.sockets[0].Join("a")
	p.sockets[1].Join("a")
	asking := n.StartAsk("a", seven(wiretest.Patience))
	for i, answer := range []string{`["x"]`, "[]"} {
		p.clients[i].Send("43" + idOf(p.clients[i].Read()) + answer)
	}
	require.ElementsMatch(t, []string{`"x"`, ""}, jsonOf(asking.Wait(t.Context())))
}

func TestABinaryAnswerComesWhole(t *testing.T) {
	t.Parallel()
	p := gather(t, 1, Config{})
	asking := p.sockets[0].StartAsk(seven(wiretest.Patience))
	p.clients[0].Send("461-"+idOf(p.clients[0].Read())+`[{"x":{"_placeholder":true,"num":0}}]`, "bAQID")
	got := asking.Wait(t.Context())
	require.Equal(t, []string{`{"x":{"_placeholder":true,"num":0}}`}, jsonOf(got))
	require.Equal(t, [][]byte{{1, 2, 3}}, got.All[0].Args.Attachments)
}

// A client that ends, in whatever way, is not waited for.
func TestAClientThatEndsIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	p := gather(t, 2, Config{})
	for i, end := range []func(){func() { p.clients[0].Abort() }, func() { p.sockets[1].Disconnect(false) }} {
		asking := p.sockets[i].StartAsk(seven(wiretest.Patience))
		p.clients[i].Read()
		end()
		require.Equal(t, Answers{Asked: 1, Left: 1}, asking.Wait(t.Context()))
		require.Equal(t, Answers{Asked: 1, Left: 1}, p.sockets[i].StartAsk(seven(wiretest.Patience)).Wait(t.Context()), "nor is one that has ended")
	}
	require.Zero(t, p.openQuestions.Load())
}

// The handler of an event waits for an answer of its own connection, behind which more events
// queue.
func TestAHandlerWaitsForItsOwnConnection(t *testing.T) {
	t.Parallel()
	got := make(chan Answers, 2)
	w := serve(t, &scene{event: func(s *Socket, e *Event) {
		if string(e.Name) == "ask" {
			got <- s.StartAsk(seven(wiretest.Patience)).Wait(context.Background())
		}
		echo(s, e)
	}}, Config{})
	c, _ := w.join(t, "websocket")
	c.Send(`421["ask"]`, `422["next"]`)
	c.Send("43" + idOf(c.Read()) + `["yes"]`)
	require.Equal(t, []string{`"yes"`}, jsonOf(<-got))
	c.Send(`423["ask"]`)
	for !strings.HasSuffix(c.Read(), `["q",7]`) { // the answers to the events stand before
	}
	c.Abort()
	require.Equal(t, Answers{Asked: 1, Left: 1}, <-got, "the end of the connection does not wait behind the handler")
}

func TestOpenQuestionsAreBounded(t *testing.T) {
	t.Parallel()
	p := gather(t, 1, Config{})
	var open []*Asking
	for range maxOpenQuestions {
		open = append(open, p.sockets[0].StartAsk(seven(wiretest.Patience)))
	}
	require.Equal(t, Answers{Asked: 1, Busy: 1}, p.sockets[0].StartAsk(seven(wiretest.Patience)).Wait(t.Context()))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, a := range open {
		a.Wait(ended)
	}
	asking := p.sockets[0].StartAsk(seven(wiretest.Patience))
	for range maxOpenQuestions {
		p.clients[0].Read()
	}
	p.clients[0].Send("43" + idOf(p.clients[0].Read()) + "[1]")
	require.Len(t, asking.Wait(t.Context()).All, 1, "there is room again")
}

// named is a receiver that says whose the answers are.
type named struct {
	*scene
	ends *atomic.Bool
}

func (n named) AnswersFor(*Socket) (string, bool) { return "ann", !n.ends.Load() }

func TestClusterAsksOnAllNodes(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	w := nodes(t, r, 2)
	there, id := w[1].member(t, "r")
	here, _ := w[0].member(t, "r")
	asking := w[0].Of("/").StartAsk("r", seven(wiretest.Patience))
	here.Send("43" + idOf(here.Read()) + `["here"]`)
	there.Send("461-"+idOf(there.Read())+`[{"x":{"_placeholder":true,"num":0}},"more"]`, "bAQID")
	got := asking.Wait(t.Context())
	require.False(t, got.Late)
	require.Equal(t, 2, got.Asked)
	require.Len(t, got.All, 2)
	for _, a := range got.All {
		if a.Conn == id {
			require.JSONEq(t, `{"x":{"_placeholder":true,"num":0}}`, string(a.Args.JSON))
			require.Equal(t, [][]byte{{1, 2, 3}}, a.Args.Attachments)
			require.True(t, a.HasMore)
		}
	}

	// One that leaves, on another node, by the room of its id.
	asking = w[0].Of("/").StartAsk(id, seven(wiretest.Patience))
	there.Read()
	there.Abort()
	require.Equal(t, Answers{Asked: 1, Left: 1}, asking.Wait(t.Context()))
	require.Equal(t, Answers{}, w[0].Of("/").StartAsk(id, seven(wiretest.Patience)).Wait(t.Context()), "it is nowhere now")
}

func TestAnAnswerSaysWhose(t *testing.T) {
	t.Parallel()
	met := make(chan *Socket, 1)
	n := named{&scene{connected: func(s *Socket) { met <- s }}, new(atomic.Bool)}
	w := serve(t, n.scene, Config{})
	w.nsps["/"].receiver = n
	c, _ := w.join(t, "websocket")
	s := <-met
	asking := s.StartAsk(seven(wiretest.Patience))
	c.Send("43" + idOf(c.Read()) + `[1]`)
	require.Equal(t, "ann", asking.Wait(t.Context()).All[0].User)
	n.ends.Store(true)
	asking = s.StartAsk(seven(wiretest.Patience))
	c.Send("43" + idOf(c.Read()) + `[1]`)
	require.Equal(t, Answers{Asked: 1, Left: 1}, asking.Wait(t.Context()), "its answers do not count any more")
}
