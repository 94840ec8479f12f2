package nodecall

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// Patience is how long a node has to answer.
const Patience = time.Second

// Bounds of what answers can make a command keep.
const (
	maxNodes      = 1024
	maxAllAnswers = 64 << 20 // bytes
)

// An Answer is what one node says.
type Answer struct {
	Node  string         `json:"node"`
	Data  jsontext.Value `json:"data,omitzero"`
	Error string         `json:"error,omitzero"` // why there is no data
}

// A Request is a question to one node, or to all.
type Request struct {
	What string
	Node string // "" is every node
	By   string // who asks
	Args any    // nil for none
}

// Answers are what the nodes said.
type Answers struct {
	All    []Answer // by node
	Silent []string // nodes that did not answer within Patience, sorted
}

// encode returns the request as a question with an id.
func (r Request) encode(id string) ([]byte, error) {
	q := question{ID: id, Node: r.Node, What: r.What, By: r.By}
	if r.Args != nil {
		args, err := json.Marshal(r.Args)
		if err != nil {
			return nil, fmt.Errorf("ask the nodes: %w", err)
		}
		q.Args = args
	}
	payload, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("ask the nodes: %w", err)
	}
	if len(payload) > maxQuestion {
		return nil, fmt.Errorf("ask the nodes: the question has %d bytes, and may have %d", len(payload), maxQuestion)
	}
	return payload, nil
}

// Tell tells the nodes something, and waits for no answer. Errors: those of Redis.
func Tell(ctx context.Context, rdb redis.UniversalClient, r Request) error {
	id := rand.Text()
	payload, err := r.encode(id)
	if err != nil {
		return err
	}
	if err := publishQuestion(ctx, rdb, id, payload); err != nil {
		return fmt.Errorf("tell the nodes: %w", err)
	}
	return nil
}

// publishQuestion publishes a question to the nodes of this database: that it is asked stands there
// for as long as it may be answered.
func publishQuestion(ctx context.Context, rdb redis.UniversalClient, id string, payload []byte) error {
	if err := rdb.Set(ctx, keys.OperatorAsked(id), "1", 2*Patience).Err(); err != nil {
		return err
	}
	return rdb.Publish(ctx, keys.OperatorQuestions, payload).Err()
}

// Ask asks, and waits until every node has answered or Patience is over. Errors: those of Redis,
// and that of ctx.
func Ask(ctx context.Context, rdb redis.UniversalClient, r Request) (Answers, error) {
	id := rand.Text()
	payload, err := r.encode(id)
	if err != nil {
		return Answers{}, err
	}
	subscription := rdb.Subscribe(ctx, keys.OperatorAnswers(id))
	defer subscription.Close()
	if _, err := subscription.ReceiveTimeout(ctx, 2*time.Second); err != nil {
		return Answers{}, fmt.Errorf("ask the nodes: %w", err)
	}
	silent, err := listNodes(ctx, rdb)
	if err != nil {
		return Answers{}, err
	}
	if r.Node != "" {
		silent = map[string]bool{r.Node: true}
	}
	if err := publishQuestion(ctx, rdb, id, payload); err != nil {
		return Answers{}, fmt.Errorf("ask the nodes: %w", err)
	}
	answers := collectAnswers(ctx, subscription, silent)
	if err := ctx.Err(); err != nil { // else nodes would be called silent that had no time
		return Answers{}, fmt.Errorf("ask the nodes: %w", err)
	}
	return answers, nil
}

// List returns the names of the nodes that serve, and of those that died within the last minute,
// sorted.
func List(ctx context.Context, rdb redis.UniversalClient) ([]string, error) {
	names, err := rdb.ZRange(ctx, keys.OperatorNodes, 0, maxNodes-1).Result()
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

func listNodes(ctx context.Context, rdb redis.UniversalClient) (map[string]bool, error) {
	names, err := List(ctx, rdb)
	nodes := make(map[string]bool, len(names))
	for _, name := range names {
		nodes[name] = true
	}
	return nodes, err
}

// collectAnswers receives until no node is silent any more, or Patience is over.
func collectAnswers(ctx context.Context, subscription *redis.PubSub, silent map[string]bool) (answers Answers) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	answered, total := map[string]bool{}, 0
	for len(silent) > 0 && ctx.Err() == nil {
		message, err := subscription.ReceiveMessage(ctx)
		if err != nil {
			break
		}
		var a Answer
		if total += len(message.Payload); total > maxAllAnswers || len(answered) >= maxNodes {
			break
		}
		if json.Unmarshal([]byte(message.Payload), &a) != nil || a.Node == "" || answered[a.Node] {
			continue // of another program
		}
		answered[a.Node] = true
		delete(silent, a.Node)
		answers.All = append(answers.All, a)
	}
	slices.SortFunc(answers.All, func(a, b Answer) int { return cmp.Compare(a.Node, b.Node) })
	for name := range silent {
		answers.Silent = append(answers.Silent, name)
	}
	slices.Sort(answers.Silent)
	return answers
}
