package fault_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/fault"
)

func TestOf(t *testing.T) {
	t.Parallel()
	redis := errors.New("dial tcp: refused")
	for name, c := range map[string]struct {
		err  error
		code string
	}{
		"a fault stays itself":            {fault.ErrLocked, "LOCKED"},
		"a wrapped fault is found":        {fmt.Errorf("trade 7: %w", fault.ErrConflict), "CONFLICT"},
		"a deadline is a timeout":         {fmt.Errorf("get: %w", context.DeadlineExceeded), "TIMEOUT"},
		"anything else is not told about": {redis, "INTERNAL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fault.Of(c.err)
			require.Equal(t, c.code, f.Code)
			require.NotContains(t, f.Message, "refused")
		})
	}
	require.Nil(t, fault.Of(nil))
	require.ErrorIs(t, fault.Of(redis), redis, "the log still needs the cause")
}

func TestDetailsDoNotLeakIntoTheVariable(t *testing.T) {
	t.Parallel()
	a := fault.ErrInvalid.With("field", "qty")
	b := a.With("reason", "required")
	c := a.With("reason", "at least 1")
	require.Nil(t, fault.ErrInvalid.Detail("field"))
	require.Equal(t, "required", b.Detail("reason"))
	require.Equal(t, "at least 1", c.Detail("reason"))
	require.ErrorIs(t, c, fault.ErrInvalid)
}

func TestWriteProblem(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	fault.Unavailable("trade", 1500*time.Millisecond, errors.New("secret cause")).WriteProblem(w)
	require.Equal(t, 503, w.Code)
	require.Equal(t, "2", w.Header().Get("Retry-After"))
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	require.NotContains(t, w.Body.String(), "secret")
	require.JSONEq(t, `{"type":"about:blank","title":"That is not available right now. Please try again.","status":503,"code":"UNAVAILABLE","feature":"trade","retryAfterMs":1500}`, w.Body.String())
}

// What was written is read again, with its details in order.
func TestParse(t *testing.T) {
	t.Parallel()
	f := fault.ErrLocked.With("retryAfterMs", int64(250)).With("by", "ann").With("list", []any{"x"}).With("rate", 1.5)
	text, err := f.MarshalJSON()
	require.NoError(t, err)
	back, err := fault.Parse(text)
	require.NoError(t, err)
	again, err := back.MarshalJSON()
	require.NoError(t, err)
	require.Equal(t, string(text), string(again))
	require.Equal(t, int64(250), back.Detail("retryAfterMs"))
	require.ErrorIs(t, back, fault.ErrLocked)
	for _, bad := range []string{"", "null", "[]", "{}", `{"code":7}`, `{"code":"X","a":}`} {
		_, err := fault.Parse([]byte(bad))
		require.Error(t, err, bad)
	}
}

func ExampleFault() {
	err := fault.Invalid("give.items[0].qty", "at least 1")
	var b bytes.Buffer
	out, _ := json.Marshal(err)
	_ = json.Indent(&b, out, "", "  ")
	fmt.Println(b.String())
	// Output:
	// {
	//   "code": "INVALID",
	//   "message": "The request is not valid.",
	//   "field": "give.items[0].qty",
	//   "reason": "at least 1"
	// }
}
