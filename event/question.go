package event

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/aeturnis/realtime/fault"
)

// This file lets a feature ask clients: the client answers with the acknowledgement of the event.

// Errors of a question to one connection.
var (
	// ErrNotConnected says that the connection of the player has ended meanwhile.
	ErrNotConnected = fault.New("NOT_CONNECTED", "The connection has ended.")
	// ErrNoAnswer says that the client did not answer in time.
	ErrNoAnswer = fault.New("NO_ANSWER", "There was no answer in time.")
	// ErrBadAnswer says that the client's answer is not one: its cause is the INVALID fault.
	ErrBadAnswer = fault.New("BAD_ANSWER", "The answer was not valid.")
	// ErrTooManyQuestions says that too many questions are open.
	ErrTooManyQuestions = fault.New("TOO_MANY_QUESTIONS", "Too many questions are open. Please try again.")
)

// Times of a question.
const (
	defaultAnswerTime = 5 * time.Second
	maxAnswerTime     = time.Minute
)

// A Question is an event that a feature sends to clients, and that each answers: with the one
// value that its listener gives to the acknowledgement. Keep it in a package variable, and list
// Cast among the feature's casts.
//
//	var ready = event.Asks[Match, Readiness]("guild:ready", "To both: is the player ready?")
//
//	answer, err := ready.AskConn(ctx, rooms, p.Conn, Match{…})
//
// Payload is the type that is sent, and Reply that of the answer, which is decoded and checked as
// strictly as the payload of a Route. A question is sent once, to those who are connected: it is
// never logged, and a client that comes back is not asked again. An answer does not slide the
// session, and spends no limit.
type Question[Payload, Reply any] struct {
	name, doc string
	within    time.Duration
}

// Asks makes a question; doc is one sentence: whom it asks, and what. Asks panics when the name
// is not of the form "feature:verb", because then the table is wrong.
func Asks[Payload, Reply any](name, doc string) Question[Payload, Reply] {
	if !eventName.MatchString(name) {
		panic(fmt.Sprintf("event: bad name %q", name))
	}
	return Question[Payload, Reply]{name, doc, defaultAnswerTime}
}

// Within returns the question with another time for the answers: 5 s is the default, and a minute
// the most. A context that ends earlier ends the question.
func (q Question[Payload, Reply]) Within(d time.Duration) Question[Payload, Reply] {
	if d <= 0 || d > maxAnswerTime {
		panic(fmt.Sprintf("event: %s: answers have up to a minute, not %v", q.name, d))
	}
	q.within = d
	return q
}

// Cast returns the entry of the question in the feature's table of casts.
func (q Question[Payload, Reply]) Cast() Cast {
	return Cast{Name: q.name, Payload: reflect.TypeFor[Payload](), Reply: reflect.TypeFor[Reply](), Doc: q.doc, IsFleeting: true}
}

// An Asker sends questions. server.Rooms is one.
type Asker interface {
	// Ask sends an event to every member of a room, on all nodes, and returns when all have answered
	// or ended, after the given time, or when ctx ends. The id of a connection is a room, and
	// "user:<id>" has every device of a user. The error says that payload can not be encoded.
	Ask(ctx context.Context, room, name string, payload any, within time.Duration) (RawAnswers, error)
}

// RawAnswers are answers that are not decoded.
type RawAnswers struct {
	All     []RawAnswer
	Asked   int  // clients
	Left    int  // clients that ended without an answer
	Busy    int  // clients that were not sent the question: too many are open
	IsWhole bool // every node said whom it asked
}

// A RawAnswer is one client's answer.
type RawAnswer struct {
	UserID, Conn string
	JSON         []byte
	Attachments  [][]byte // the binary values
	HasMore      bool     // the client gave several values
}

// Answers are what the clients of a room said.
type Answers[Reply any] struct {
	All     []Answer[Reply] // the valid ones, in the order in which they came
	Asked   int             // clients that were asked
	Invalid int             // clients whose answer is not a Reply
	Left    int             // clients that ended without an answer
	Silent  int             // clients that have not answered in time, or have too many open questions
	// IsWhole says that every node has said whom it asked. Else more clients may have been asked.
	IsWhole bool
}

// An Answer is one client's answer. A user with several devices may give several.
type Answer[Reply any] struct {
	UserID string
	Conn   string
	Reply  Reply
}

// Ask asks every member of a room, on all nodes, and returns when all have answered or ended, or
// when the time is up. Missing answers are no error. The error says that payload can not be
// encoded.
func (q Question[Payload, Reply]) Ask(ctx context.Context, a Asker, room string, payload Payload) (answers Answers[Reply], err error) {
	raw, err := a.Ask(ctx, room, q.name, payload, q.within)
	if err != nil {
		return answers, err
	}
	answers.Asked, answers.Left, answers.IsWhole = raw.Asked, raw.Left, raw.IsWhole
	answers.Silent = max(0, raw.Asked-raw.Left-len(raw.All))
	for _, one := range raw.All {
		reply, err := decodeReply[Reply](one)
		if err != nil {
			answers.Invalid++
			continue
		}
		answers.All = append(answers.All, Answer[Reply]{one.UserID, one.Conn, reply})
	}
	return answers, nil
}

// AskUser asks every device of a user, as Ask does.
func (q Question[Payload, Reply]) AskUser(ctx context.Context, a Asker, userID string, payload Payload) (Answers[Reply], error) {
	return q.Ask(ctx, a, "user:"+userID, payload)
}

// AskConn asks one connection, of any node. A handler may ask the connection of its own event.
// Errors: ErrNotConnected, also when the connection ends meanwhile; ErrNoAnswer; ErrBadAnswer;
// ErrTooManyQuestions; that of ctx.
func (q Question[Payload, Reply]) AskConn(ctx context.Context, a Asker, conn string, payload Payload) (reply Reply, err error) {
	raw, err := a.Ask(ctx, conn, q.name, payload, q.within)
	switch {
	case err != nil:
		return reply, err
	case len(raw.All) > 0:
		if reply, err = decodeReply[Reply](raw.All[0]); err != nil {
			err = ErrBadAnswer.Because(err)
		}
		return reply, err
	case raw.Busy > 0:
		return reply, ErrTooManyQuestions
	case raw.Asked > raw.Left || !raw.IsWhole:
		if err := ctx.Err(); err != nil {
			return reply, err
		}
		return reply, ErrNoAnswer
	}
	return reply, ErrNotConnected
}

// decodeReply decodes an answer as strictly as a payload.
func decodeReply[Reply any](a RawAnswer) (reply Reply, err error) {
	if a.HasMore {
		return reply, fault.Invalid("", "one value at most")
	}
	err = decodeWith(a.JSON, a.Attachments, &reply)
	return reply, err
}
