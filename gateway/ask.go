package gateway

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway/socketio"
)

// This file asks clients, for features: see event.Question.

// Ask sends an event to every member of a room, on all nodes, and returns when all have answered or
// ended, after the given time, or when ctx ends. A connection of this node, by its id, is asked
// without the other nodes. The error says that the payload can not be encoded.
func (s *Namespace) Ask(ctx context.Context, room, name string, payload any, within time.Duration) (answers event.RawAnswers, err error) {
	encoded, err := encodePayload(name, payload)
	if err != nil {
		return answers, err
	}
	span := beginCast(ctx, name)
	defer span.End()
	q := socketio.Question{Name: name, Args: socketio.Args{JSON: encoded.build(nil), Attachments: encoded.attachments}, Timeout: within}
	var asking *socketio.Asking
	if c := s.findConn(room); c != nil {
		asking = c.socket.StartAsk(q)
	} else {
		s.nsp.WaitDelivered(ctx, room) // what was cast to the room before comes before the question
		asking = s.nsp.StartAsk(room, q)
	}
	got := asking.Wait(ctx)
	s.g.metrics.countAnswers(name, got)
	answers = event.RawAnswers{Asked: got.Asked, Left: got.Left, Busy: got.Busy, IsWhole: got.Missing == 0}
	for _, a := range got.All {
		answers.All = append(answers.All, event.RawAnswer{UserID: a.User, Conn: a.Conn, JSON: a.Args.JSON, Attachments: a.Args.Attachments, HasMore: a.HasMore})
	}
	return answers, nil
}

// AnswersFor returns the user of a socket, whose answers count while its session lives.
func (r receiver) AnswersFor(s *socketio.Socket) (user string, ok bool) {
	c, isConn := s.Data().(*conn)
	if !isConn || c.isEnded.Load() || !c.handle.Alive() {
		return "", false
	}
	return c.player.Load().UserID, true
}

func newQuestions() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gateway_questions_total", Help: "Clients that features of this node asked, by outcome: answered, left, silent, or busy, which were not asked because they had too many open questions.",
	}, []string{"event", "outcome"})
}

// countAnswers counts what became of a question.
func (m *Metrics) countAnswers(name string, got socketio.Answers) {
	silent := max(0, got.Asked-len(got.All)-got.Left-got.Busy)
	for outcome, n := range map[string]int{"answered": len(got.All), "left": got.Left, "busy": got.Busy, "silent": silent} {
		if n > 0 {
			m.questions.WithLabelValues(name, outcome).Add(float64(n))
		}
	}
}
