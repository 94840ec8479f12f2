package operate

import (
	"context"
	"errors"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/nodecall"
)

// FromNode is what one node answered.
type FromNode[T any] struct {
	Node string
	Data T
}

// NodeAnswers are what the nodes answered.
type NodeAnswers[T any] struct {
	All    []FromNode[T]
	Silent []string // that did not answer within a second
	Failed []string // "node: why"
	// Unanswered are the nodes of Silent and Failed: what they know and did is not in All.
	Unanswered []string
}

// AskNodes asks the nodes that serve. The errors are those of nodecall.Ask.
func AskNodes[T any](ctx context.Context, rdb redis.UniversalClient, r nodecall.Request) (out NodeAnswers[T], err error) {
	answers, err := nodecall.Ask(ctx, rdb, r)
	if err != nil {
		return out, err
	}
	out.Silent, out.Unanswered = answers.Silent, slices.Clone(answers.Silent)
	for _, a := range answers.All {
		data := FromNode[T]{Node: a.Node}
		err := errors.New(a.Error)
		if a.Error == "" {
			err = json.Unmarshal(a.Data, &data.Data)
		}
		if err != nil {
			out.Failed, out.Unanswered = append(out.Failed, a.Node+": "+err.Error()), append(out.Unanswered, a.Node)
			continue
		}
		out.All = append(out.All, data)
	}
	return out, nil
}
