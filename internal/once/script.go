package once

import (
	"errors"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

// ErrLost is the error of a handler whose script did nothing, because another holder has the claim
// of its event. The Keeper then waits for the answer of that holder.
var ErrLost error = errLost

var errLost = fault.ErrLocked.With("retryAfterMs", lastPoll.Milliseconds()).Because(errors.New("once: another holder has the claim"))

// isLost reports whether an error is ErrLost, and not any other LOCKED.
func isLost(err error) bool {
	var f *fault.Fault
	return errors.As(err, &f) && f == errLost
}

// Args returns what a script that does the effect of an event needs of its claim: the token, the
// digest, how long an answer is kept (ms), and the answer, JSON as the handler returns it. The
// record, Claim.Record, is a key of the script. record.Functions stand in front of it, and it
// begins and ends like this:
//
//	local done = once_check(record, token, digest)
//	if done then return done end
//	-- … the effect …
//	once_answer(record, digest, keep, answer)
//
// A script that makes the answer itself puts '+' in front of the JSON; then answer is nil here.
func Args(c *event.Claim, answer []byte) []any {
	return []any{c.Token, c.Digest, c.Keep.Milliseconds(), AnswerText(answer)}
}

// AnswerText returns the data of an answer as once_answer takes it; "" for nil.
func AnswerText(answer []byte) string {
	if answer == nil {
		return ""
	}
	return "+" + string(answer)
}

// ReadCheck reads what once_check returned, as the strings of a script's reply. It decodes the
// answer into out, and marks the claim. The error is ErrLost, or the refusal that was the answer;
// the handler returns it as it is.
func ReadCheck(c *event.Claim, reply []string, out any) error {
	if len(reply) != 2 || reply[0] != "answer" {
		return ErrLost
	}
	c.MarkRecorded()
	data, err := parseAnswer(reply[1])
	if err != nil {
		return err
	}
	return json.Unmarshal(data, out)
}

// parseAnswer returns the data of a recorded answer. The error is the refusal that was the answer,
// a Replayed.
func parseAnswer(text string) (data []byte, err error) {
	switch {
	case len(text) > 0 && text[0] == '+':
		return []byte(text[1:]), nil
	case len(text) > 0 && text[0] == '-':
		f, err := fault.Parse([]byte(text[1:]))
		if err == nil {
			return nil, &Replayed{f}
		}
	}
	return nil, errors.New("once: not an answer: " + strconv.QuoteToASCII(text))
}

// A Replayed is a refusal that an event got before.
type Replayed struct{ *fault.Fault }

// Unwrap returns the refusal.
func (r *Replayed) Unwrap() error { return r.Fault }
