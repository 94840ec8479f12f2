package socketio

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/jsonpack"
)

// This file asks clients: it sends events that they acknowledge, on all nodes, and gathers what
// they answer. Answers do not wait behind the events of their connection: they are taken on the
// goroutine that reads. So a handler may wait for an answer of its own connection.

// Bounds of the questions that clients have not answered.
const (
	maxOpenQuestions = 64      // of one socket
	maxAllQuestions  = 100_000 // of a server's sockets
)

// ErrTooManyQuestions says that a socket, or the server, has as many open questions as it may have.
var ErrTooManyQuestions = errors.New("socketio: too many open questions")

// An AnswerReceiver is a Receiver that says whose answers those of a socket are.
type AnswerReceiver interface {
	// AnswersFor returns the user of a socket. It reports false when the answers of the socket do
	// not count any more. It must not wait.
	AnswersFor(s *Socket) (user string, ok bool)
}

// A Question is an event whose acknowledgements are waited for.
type Question struct {
	Name    string
	Args    Args
	Timeout time.Duration // until then answers are taken
}

// An Answer is what one client acknowledged.
type Answer struct {
	Conn string // id of the socket; "" for a client of a Node server
	User string // what the AnswerReceiver says; "" without one, and for a client of a Node server
	// Args are the first value and the binary values. JSON is empty, or null where another node
	// passed the answer on, when the client gave no value.
	Args Args
	// HasMore says that the client gave several values.
	HasMore bool
}

// Answers are what became of a Question.
type Answers struct {
	All     []Answer // in the order in which they came
	Asked   int      // clients, on all nodes that said so
	Left    int      // clients that ended without an answer
	Busy    int      // clients of Asked that were not sent the question: they have too many open ones
	Missing int      // nodes that did not say whom they asked
	Late    bool     // the time was up before everything was known
}

// questionIDs makes the ids of questions. They begin anywhere, so that a client that goes on with
// its connection on another node can not answer a question of that node with an old id.
var questionIDs = newQuestionIDs()

func newQuestionIDs() *atomic.Uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	ids := new(atomic.Uint64)
	ids.Store(binary.BigEndian.Uint64(b[:]) >> 17) // 47 bits: JavaScript and maxIDDigits hold it
	return ids
}

// openQuestions are those that a client has not answered.
type openQuestions struct {
	mu     sync.Mutex
	byID   map[uint64]func(Answer, bool) // what is called once: with an answer, or with false; guarded by mu
	isOver bool                          // the socket has ended; guarded by mu
}

// expectAnswer has done called once: with the answer to the question with this id, or with false
// when the socket has ended before. done must not wait.
func (s *Socket) expectAnswer(id uint64, done func(a Answer, isAnswered bool)) error {
	q, all := &s.questions, &s.link.srv.openQuestions
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.isOver:
		return ErrClosed
	case len(q.byID) >= maxOpenQuestions:
		return ErrTooManyQuestions
	case all.Add(1) > maxAllQuestions:
		all.Add(-1)
		return ErrTooManyQuestions
	}
	if q.byID == nil {
		q.byID = map[uint64]func(Answer, bool){}
	}
	q.byID[id] = done
	return nil
}

// forgetQuestion returns what waits for an answer, or nil, and waits for it no more.
func (s *Socket) forgetQuestion(id uint64) (done func(Answer, bool)) {
	q := &s.questions
	q.mu.Lock()
	defer q.mu.Unlock()
	if done = q.byID[id]; done != nil {
		delete(q.byID, id)
		s.link.srv.openQuestions.Add(-1)
	}
	return done
}

// takeAnswer takes an acknowledgement, and reports whether it answers one of our questions. It is
// called on the goroutine that reads.
func (s *Socket) takeAnswer(p *packet, attachments [][]byte) bool {
	done := s.forgetQuestion(p.id)
	if done == nil {
		return false
	}
	a := Answer{Conn: string(s.id), HasMore: p.count > 1}
	if r, ok := s.nsp.receiver.(AnswerReceiver); ok {
		if a.User, ok = r.AnswersFor(s); !ok {
			done(Answer{}, false)
			return true
		}
	}
	if p.count > 0 {
		a.Args = Args{JSON: append([]byte(nil), firstValue(p.args)...), Attachments: attachments}
	}
	done(a, true)
	return true
}

// firstValue returns the first of values that are encoded.
func firstValue(values []byte) []byte {
	i := jsonpack.SkipSpace(values, 0)
	return values[i:jsonpack.SkipValue(values, i, 1<<10)]
}

// endQuestions says of all open questions that they are not answered any more.
func (s *Socket) endQuestions() {
	q := &s.questions
	q.mu.Lock()
	open := q.byID
	q.byID, q.isOver = nil, true
	s.link.srv.openQuestions.Add(-int64(len(open)))
	q.mu.Unlock()
	for _, done := range open {
		done(Answer{}, false)
	}
}

// An Asking gathers the answers to one Question.
type Asking struct {
	id      uint64
	ends    time.Time
	sockets []*Socket       // that were asked here
	request *pendingRequest // to the other nodes, or nil

	mu           sync.Mutex
	result       Answers        // guarded by mu
	awaitedHere  int            // answers to come of this node's clients; guarded by mu
	awaitedThere map[string]int // of other nodes' clients, by node; guarded by mu
	isCounted    bool           // the other nodes said how many clients they asked; guarded by mu
	isOver       bool           // nothing changes any more; guarded by mu
	over         chan struct{}  // closed then
}

// StartAsk sends a question to every member of a room, on all nodes. It does not wait.
func (n *Namespace) StartAsk(room string, q Question) *Asking {
	a := newAsking(q)
	if n.cluster != nil {
		a.isCounted = false
		n.cluster.askElsewhere(a, room, q)
	}
	a.askHere(n.rooms.connectedMembers(&socket.BroadcastOptions{Rooms: types.NewSet(socket.Room(room))}), n.name, q)
	return a
}

// StartAsk sends a question to the socket. It does not wait.
func (s *Socket) StartAsk(q Question) *Asking {
	a := newAsking(q)
	a.askHere([]*Socket{s}, s.nsp.name, q)
	return a
}

func newAsking(q Question) *Asking {
	return &Asking{
		id: questionIDs.Add(1), ends: time.Now().Add(q.Timeout), isCounted: true,
		awaitedThere: map[string]int{}, over: make(chan struct{}),
	}
}

// Wait returns when all clients that were asked have answered or ended, when the time is up, or
// when ctx ends. Call it once.
func (a *Asking) Wait(ctx context.Context) Answers {
	late := time.NewTimer(time.Until(a.ends))
	defer late.Stop()
	select {
	case <-a.over:
	case <-late.C:
	case <-ctx.Done():
	}
	a.update(func() {
		a.result.Late = true
		a.finish()
	})
	for _, s := range a.sockets {
		s.forgetQuestion(a.id)
	}
	if a.request != nil {
		a.request.expireRequest()
	}
	return a.result
}

// update makes a change, unless everything is over, and finishes when no answer is to come any
// more.
func (a *Asking) update(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.isOver {
		return
	}
	change()
	if a.isOver || !a.isCounted || a.awaitedHere > 0 {
		return
	}
	for _, n := range a.awaitedThere {
		if n > 0 {
			return
		}
	}
	a.finish()
}

// finish ends the gathering. mu is held.
func (a *Asking) finish() {
	a.isOver = true
	close(a.over)
}

// askHere asks sockets of this node.
func (a *Asking) askHere(sockets []*Socket, nsp string, q Question) {
	f := frameEvent(nsp, q.Name, q.Args, a.id, true).sealFrames(false)
	defer f.releaseFrames()
	a.update(func() {
		a.result.Asked += len(sockets)
		a.awaitedHere += len(sockets)
	})
	a.sockets = sockets
	for _, s := range sockets {
		askSocket(s, a.id, f, a.noteHere)
	}
}

// noteHere notes what became of the question to one socket of this node.
func (a *Asking) noteHere(answer Answer, fate answerFate) {
	a.update(func() {
		a.awaitedHere--
		a.note(answer, fate)
	})
}

// note counts what became of the question to one client. mu is held.
func (a *Asking) note(answer Answer, fate answerFate) {
	switch fate {
	case isLeft:
		a.result.Left++
	case isBusy:
		a.result.Busy++
	default:
		a.result.All = append(a.result.All, answer)
	}
}

// An answerFate says what became of the question to one client. Nodes tell each other.
type answerFate int

const (
	isAnswered answerFate = iota
	isLeft                // it ended
	isBusy                // it was not asked, because too many questions are open
)

// askSocket sends a question to one socket, and has note called once with what became of it.
func askSocket(s *Socket, id uint64, f packetFrames, note func(Answer, answerFate)) {
	err := s.expectAnswer(id, func(answer Answer, ok bool) {
		if ok {
			note(answer, isAnswered)
		} else {
			note(answer, isLeft)
		}
	})
	switch {
	case errors.Is(err, ErrTooManyQuestions):
		note(Answer{}, isBusy)
	case err != nil:
		note(Answer{}, isLeft)
	case !f.pushTo(s.link.conn):
		if s.forgetQuestion(id) != nil { // else it has ended meanwhile, and that was noted
			note(Answer{}, isLeft)
		}
	}
}

// connectedMembers lists the sockets that opts selects and that can be sent something.
func (a *rooms) connectedMembers(opts *socket.BroadcastOptions) (all []*Socket) {
	a.forEachMember(opts, func(m *member) {
		if m.socket != nil {
			all = append(all, m.socket)
		}
	})
	return all
}
