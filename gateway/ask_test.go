package gateway

import (
	"context"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// A ballot is what clients answer.
type ballot struct {
	Yes bool   `json:"yes"`
	Why string `json:"why" validate:"max=5"`
}

var vote = event.Asks[sum, ballot]("game:vote", "To the room: yes or no?")

// answerVote answers the next packet, which must be the question.
func answerVote(t *testing.T, c *wiretest.Client, answer string) {
	t.Helper()
	q := c.Read()
	require.True(t, strings.HasSuffix(q, `["game:vote",{"a":1,"b":2}]`), q)
	c.Send("43" + q[2:strings.IndexByte(q, '[')] + answer)
}

// A question reaches a room, a user and a connection on both nodes, whichever of them asks, and its
// answers are checked as payloads are.
func TestQuestionsReachAllNodes(t *testing.T) {
	t.Parallel()
	bus := redistest.Server(t)
	var nodes []*hall
	for range 2 {
		nodes = append(nodes, open(t, func(c *Config) {
			c.Socket.Cluster = &socketio.ClusterConfig{Redis: bus.Client(), Log: &socketio.LogConfig{}}
		}))
	}
	for _, h := range nodes {
		require.Eventually(t, func() bool { return h.Cluster().Nodes == 2 }, wiretest.Patience, tick)
	}
	enter := func(h *hall, user string) (*wiretest.Client, string) {
		c := wiretest.Open(t, h.url, "websocket")
		got := c.Connect("", `{"sessionId":"s-`+user+`"}`)
		require.True(t, strings.HasPrefix(c.Read(), `42["session",`))
		require.True(t, strings.HasPrefix(c.Read(), `42["limits",`))
		_, err := h.Join(t.Context(), got, "hall")
		require.NoError(t, err)
		return c, got
	}
	ann, annConn := enter(nodes[0], "ann")
	root, rootConn := enter(nodes[1], "root")
	type result struct {
		answers event.Answers[ballot]
		err     error
	}
	got := make(chan result, 1)
	within := vote.Within(wiretest.Patience)
	ctx := t.Context()

	require.NoError(t, nodes[0].Cast(ctx, "hall", "x", 1)) // it is logged
	go func() {
		answers, err := within.Ask(ctx, nodes[0], "hall", sum{1, 2})
		got <- result{answers, err}
	}()
	for _, c := range []*wiretest.Client{ann, root} {
		require.True(t, strings.HasPrefix(c.Read(), `42["x",1`), "what was cast before comes before")
	}
	answerVote(t, ann, `[{"yes":true,"why":"so"}]`)
	answerVote(t, root, `[{"yes":true,"why":"far too long"}]`)
	res := <-got
	require.NoError(t, res.err)
	require.Equal(t, event.Answers[ballot]{
		All: []event.Answer[ballot]{{UserID: "ann", Conn: annConn, Reply: ballot{true, "so"}}}, Asked: 2, Invalid: 1, IsWhole: true,
	}, res.answers)

	go func() {
		answers, err := within.AskUser(ctx, nodes[0], "root", sum{1, 2})
		got <- result{answers, err}
	}()
	answerVote(t, root, `[{"yes":true,"why":""}]`)
	res = <-got
	require.NoError(t, res.err)
	require.Equal(t, []event.Answer[ballot]{{UserID: "root", Conn: rootConn, Reply: ballot{Yes: true}}}, res.answers.All)

	one := make(chan error, 1)
	askRoot := func(within event.Question[sum, ballot]) {
		go func() {
			_, err := within.AskConn(ctx, nodes[0], rootConn, sum{1, 2})
			one <- err
		}()
	}
	for answer, want := range map[string]error{
		`[{"yes":false,"why":"no"}]`: nil, `[{"yes":1}]`: event.ErrBadAnswer, `[{"yes":true,"more":1}]`: event.ErrBadAnswer,
		`["yes"]`: event.ErrBadAnswer, `[{"yes":true,"why":"x"},{}]`: event.ErrBadAnswer,
		`[` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `]`: event.ErrBadAnswer,
	} {
		askRoot(within)
		answerVote(t, root, answer)
		require.ErrorIs(t, <-one, want, answer)
	}
	askRoot(vote.Within(50 * time.Millisecond))
	require.ErrorIs(t, <-one, event.ErrNoAnswer)
	answerVote(t, root, `[{"yes":true,"why":"late"}]`)
	askRoot(within)
	q := root.Read()
	root.Abort()
	require.ErrorIs(t, <-one, event.ErrNotConnected, q)
	_, err := within.AskConn(ctx, nodes[0], rootConn, sum{1, 2})
	require.ErrorIs(t, err, event.ErrNotConnected, "it has ended")
}

// The handler of an event asks the connection of the event.
func TestAHandlerAsksItsOwnConnection(t *testing.T) {
	t.Parallel()
	var h *hall
	h = open(t, func(c *Config) {
		c.Routes = append(c.Routes, event.On("game:confirm", func(ctx context.Context, p event.Player, in sum) (ballot, error) {
			return vote.AskConn(ctx, h, p.Conn, in)
		}))
		c.Casts = []event.Cast{vote.Cast()}
	})
	c, _ := h.enter(t, "ann")
	c.Send(`421["game:confirm",{"a":1,"b":2}]`, `422["session:ping"]`)
	answerVote(t, c, `[{"yes":true,"why":"so"}]`)
	c.Expect(`431[{"ok":true,"data":{"yes":true,"why":"so"}}]`)
	require.True(t, strings.HasPrefix(c.Read(), `432[{"ok":true`))
	c.Send(`423["game:confirm",{"a":1,"b":2}]`)
	answerVote(t, c, `[7]`)
	require.Contains(t, c.Read(), `"code":"BAD_ANSWER"`)

	c.Send(`424["game:confirm",{"a":1,"b":2}]`)
	q := c.Read()
	h.book.the(t, "s-ann").gone.Store(true)                                     // the session is over, and the connection is not closed yet
	c.Send("43" + q[2:strings.IndexByte(q, '[')] + `[{"yes":true,"why":"so"}]`) // it does not count any more
	require.Eventually(t, func() bool { return h.countQuestions(t, "left") == 1 }, wiretest.Patience, tick)
	require.Equal(t, 2, h.countQuestions(t, "answered"))
}

// countQuestions returns how many clients were asked game:vote with an outcome.
func (h *hall) countQuestions(t *testing.T, outcome string) int {
	t.Helper()
	var m dto.Metric
	require.NoError(t, h.metrics.questions.WithLabelValues("game:vote", outcome).Write(&m))
	return int(m.Counter.GetValue())
}
