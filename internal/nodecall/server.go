package nodecall

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

const (
	renewEvery = 5 * time.Second  // between two renewals of a node's lease
	leaseFor   = 15 * time.Second // how long a node counts as living after the last renewal
	namedFor   = time.Minute      // how long a node that died is named after its lease

	maxQuestion = 16 << 10 // bytes of a question
	maxAnswer   = 4 << 20  // bytes of an answer
	maxAtOnce   = 16       // questions that a node answers at the same time; more are not answered
	answerFor   = time.Second
)

// A question is what Ask publishes.
type question struct {
	ID   string         `json:"id"`            // names the channel of the answers
	Node string         `json:"node,omitzero"` // only this node answers; "" is every node
	What string         `json:"what"`
	By   string         `json:"by"` // who asks, for the log of the node
	Args jsontext.Value `json:"args,omitzero"`
}

// A Handler answers one kind of question. by says who asks. Its error is answered instead.
type Handler func(ctx context.Context, by string, args []byte) (any, error)

// A Server answers the questions to one node.
type Server struct {
	rdb      redis.UniversalClient
	node     string
	handlers map[string]Handler
	report   func(error) // of the subscription, and of the lease

	atOnce chan struct{}
}

// NewServer makes a server; no two nodes may have the same name. report is called once for each
// outage of the subscription.
func NewServer(rdb redis.UniversalClient, node string, handlers map[string]Handler, report func(error)) *Server {
	return &Server{rdb: rdb, node: node, handlers: handlers, report: report, atOnce: make(chan struct{}, maxAtOnce)}
}

// Run answers until ctx ends, and takes the node out of the list then.
func (s *Server) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { s.renewLease(ctx) })
	redisx.Subscribe(ctx, s.rdb, keys.OperatorQuestions, redisx.SubscriptionHandlers{
		OnDown: s.report,
		OnMessage: func(payload string) {
			var q question
			if len(payload) > maxQuestion || json.Unmarshal([]byte(payload), &q) != nil || !isQuestionID(q.ID) || q.Node != "" && q.Node != s.node {
				return
			}
			select {
			case s.atOnce <- struct{}{}:
				running.Go(func() {
					defer func() { <-s.atOnce }()
					s.answer(ctx, q)
				})
			default: // a flood of questions; the asker sees that we did not answer
			}
		},
	})
	return nil
}

// answer answers one question.
func (s *Server) answer(ctx context.Context, q question) {
	ctx, cancel := context.WithTimeout(ctx, answerFor)
	defer cancel()
	if asked, err := s.rdb.Exists(ctx, keys.OperatorAsked(q.ID)).Result(); err != nil || asked == 0 {
		return // it is for the nodes of another database
	}
	a := Answer{Node: s.node}
	if data, err := s.callHandler(ctx, q); err != nil {
		a.Error = err.Error()
	} else {
		a.Data = data
	}
	payload, err := json.Marshal(a)
	if err == nil && len(payload) > maxAnswer {
		payload, err = json.Marshal(Answer{Node: s.node, Error: "the answer is too long: ask for less"})
	}
	if err == nil {
		_ = s.rdb.Publish(ctx, keys.OperatorAnswers(q.ID), payload).Err() // the asker sees that we did not answer
	}
}

var errUnknownQuestion = errors.New("this node does not know that question: it may be of another version")

func (s *Server) callHandler(ctx context.Context, q question) ([]byte, error) {
	handle := s.handlers[q.What]
	if handle == nil {
		return nil, errUnknownQuestion
	}
	data, err := handle(ctx, q.By, q.Args)
	if err != nil {
		return nil, err
	}
	return json.Marshal(data, json.Deterministic(true))
}

// renewLease keeps the node in the list until ctx ends.
func (s *Server) renewLease(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	wasRenewed := true
	for {
		err := leaseScript.Do(ctx, s.rdb, []string{keys.OperatorNodes}, s.node, leaseFor.Milliseconds(), namedFor.Milliseconds()).Err()
		if err != nil && wasRenewed && ctx.Err() == nil && redisx.UnavailableReason(err) == "" {
			s.report(fmt.Errorf("list the node: %w", err))
		}
		wasRenewed = err == nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 200*time.Millisecond)
			defer cancel()
			_ = s.rdb.ZRem(ctx, keys.OperatorNodes, s.node).Err() // else the lease ends
			return
		}
	}
}

// leaseScript puts a node into the list, and forgets those that are gone for long.
// KEYS[1] the zset; ARGV: the node, its lease in ms, for how many ms an ended lease is kept.
var leaseScript = redisx.NewScript(`
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[3]))
return 1
`)

// isQuestionID reports whether id may name a channel: 1 to 64 letters and digits.
func isQuestionID(id string) bool {
	for _, r := range id {
		if (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return id != "" && len(id) <= 64
}
