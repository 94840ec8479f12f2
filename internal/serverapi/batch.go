package serverapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/apikeys"
)

// Batch are calls that are done in their order.
type Batch struct {
	Calls []BatchCall `json:"calls" validate:"required,min=1,max=100,dive"`
}

// BatchCall is one call of a batch.
type BatchCall struct {
	// Call is its name, such as "cast".
	Call string `json:"call" validate:"required,max=64"`
	// Body is its input: the body of a POST, or what the query of a GET says, as JSON.
	Body jsontext.Value `json:"body,omitempty"`
	// IdempotencyKey, 1 to 64 printable characters, makes a repeat of this call safe. Where the batch
	// has a header Idempotency-Key, the calls with an effect that have none have one made of it.
	IdempotencyKey string `json:"idempotencyKey,omitempty" validate:"max=64"`
}

// BatchResult has an answer for each call, in their order.
type BatchResult struct {
	Answers []BatchAnswer `json:"answers"`
}

// BatchAnswer is the answer to one call: data, or error.
type BatchAnswer struct {
	Status int            `json:"status"`         // the HTTP status that the call alone would have
	Data   jsontext.Value `json:"data,omitempty"` // what the call alone would answer
	Error  *fault.Fault   `json:"error,omitempty"`
}

// serveBatch serves a request with many calls. A call that is refused does not stop those behind
// it.
func (s *Service) serveBatch(w http.ResponseWriter, r *http.Request) {
	key := s.authenticate(w, r)
	if key == nil {
		return
	}
	answer, err := s.performBatch(w, r, key)
	s.writeAnswer(w, key.Name, "batch", answer, err)
}

// performBatch reads a batch, and does its calls.
func (s *Service) performBatch(w http.ResponseWriter, r *http.Request, key *apikeys.Key) ([]byte, error) {
	raw, err := s.readBody(w, r)
	if err != nil {
		return nil, err
	}
	var in Batch
	if err := event.Decode(raw, &in); err != nil {
		return nil, err
	}
	ofAll := r.Header.Get("Idempotency-Key")
	if given := r.Header.Values("Idempotency-Key"); len(given) > 0 && (ofAll == "" || !isIdempotencyKey(ofAll)) {
		return nil, errKeyText
	}
	if err := s.spend(r.Context(), key, len(in.Calls)); err != nil {
		return nil, err
	}
	finishReading(w, batchTimeout)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), batchTimeout)
	defer cancel()
	return json.Marshal(&BatchResult{s.doBatch(ctx, key, in.Calls, ofAll)})
}

// Bounds of a batch. A call behind them is not begun.
const (
	batchTimeout   = 30 * time.Second
	maxBatchAnswer = 8 << 20 // bytes of the answers before a call that only reads
)

// doBatch does the calls. Casts without a key are not waited for before the next one is begun: they
// are delivered in their order all the same.
func (s *Service) doBatch(ctx context.Context, key *apikeys.Key, calls []BatchCall, ofAll string) []BatchAnswer {
	answers, size := make([]BatchAnswer, len(calls)), 0
	open := make([]func(ctx context.Context) (CastResult, error), len(calls))
	waitOpen := func(before int) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout) // they were begun
		defer cancel()
		for i := range before {
			if finish := open[i]; finish != nil {
				open[i] = nil
				answers[i] = s.answerCast(ctx, key, finish)
			}
		}
	}
	for i, entry := range calls {
		call := s.calls[entry.Call]
		var err error
		switch {
		case call == nil:
			err = fault.Invalid("call", "there is no such call")
		case !key.Allows(call.Scope):
			err = errScope.With("scope", call.Scope)
		case ctx.Err() != nil:
			err = fault.ErrTimeout.With("reason", "not begun")
		case size > maxBatchAnswer && !call.HasEffect():
			err = fault.ErrTooLarge.With("limit", maxBatchAnswer)
		}
		if err != nil {
			answers[i] = s.refuseEntry(key, "", err)
			continue
		}
		if entry.IdempotencyKey == "" && ofAll != "" && call.HasEffect() {
			entry.IdempotencyKey = derivedKey(ofAll, i)
		}
		if call.Name == "cast" && entry.IdempotencyKey == "" {
			var in CastRequest
			if err = decodeCast(entry.Body, &in); err == nil {
				open[i], err = s.startCast(Caller{Name: key.Name}, in)
			}
			if err != nil {
				answers[i] = s.refuseEntry(key, call.Name, err)
			}
			continue
		}
		if call.Name != "cast" {
			waitOpen(i)
		}
		data, err := s.perform(ctx, key, call, entry.Body, entry.IdempotencyKey)
		if err != nil {
			answers[i] = s.refuseEntry(key, call.Name, err)
			continue
		}
		s.served.WithLabelValues(key.Name, call.Name, "ok").Inc()
		answers[i], size = BatchAnswer{Status: http.StatusOK, Data: data}, size+len(data)
	}
	waitOpen(len(calls))
	return answers
}

// answerCast waits for the answer to a cast.
func (s *Service) answerCast(ctx context.Context, key *apikeys.Key, finish func(ctx context.Context) (CastResult, error)) BatchAnswer {
	out, err := finish(ctx)
	if err != nil {
		return s.refuseEntry(key, "cast", err)
	}
	data, err := json.Marshal(&out)
	if err != nil {
		return s.refuseEntry(key, "cast", err)
	}
	s.served.WithLabelValues(key.Name, "cast", "ok").Inc()
	return BatchAnswer{Status: http.StatusOK, Data: data}
}

// refuseEntry answers one call of a batch with a refusal.
func (s *Service) refuseEntry(key *apikeys.Key, call string, err error) BatchAnswer {
	f := s.noteFailure(key.Name, call, err)
	return BatchAnswer{Status: f.Status(), Error: f}
}

// derivedKey makes the key of one call from that of its batch.
func derivedKey(ofAll string, i int) string {
	sum := sha256.Sum256([]byte(ofAll))
	return "batch:" + hex.EncodeToString(sum[:16]) + ":" + strconv.Itoa(i)
}

// decodeCast decodes the body of a cast.
func decodeCast(raw []byte, in *CastRequest) error { return event.Decode(bytes.TrimSpace(raw), in) }
