package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// A call that has begun is done whole when its program goes away, and a repeat gets its answer. A
// node that does not answer makes each call last a second.
func TestACallOutlivesItsProgram(t *testing.T) {
	t.Parallel()
	f := newAPIFile(t)
	server := redistest.Server(t)
	g := serveAPI(t, f.with("--name", "shop", "--scope", allScopes), "--redis", server.URL(), "--dev", "--node", "here", "--body-timeout", "1500ms")
	a := g.api(f.key)
	g.connect(g.guest("ann"))
	a.connectionOf("ann")
	lease := redis.Z{Score: float64(time.Now().Add(time.Hour).UnixMilli()), Member: "gone"}
	require.NoError(t, server.Client().ZAdd(t.Context(), keys.OperatorNodes, lease).Err())

	const join = `{"userId":"ann","room":"game:raid"}`
	ctx, leave := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.root+"connections/join", strings.NewReader(join))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+f.key)
	req.Header.Set("Idempotency-Key", "k")
	_, err = http.DefaultClient.Do(req) //nolint:bodyclose // there is no answer
	require.ErrorIs(t, err, context.DeadlineExceeded)
	var repeated map[string]any
	require.Eventually(t, func() bool {
		r := a.do("POST", "connections/join", join, "Idempotency-Key", "k")
		return r.status == 200 && json.Unmarshal(r.body, &repeated) == nil // LOCKED while the first is under way
	}, patience, tick)
	require.Equal(t, map[string]any{"done": 1.0, "refused": []any{}, "silent": []any{"gone"}}, repeated)

	// A batch lasts longer than its body may take to arrive.
	calls := make([]string, 4)
	for i := range calls {
		calls[i] = fmt.Sprintf(`{"call":"connections.join","body":{"userId":"ann","room":"game:%d"}}`, i)
	}
	begun := time.Now()
	answers := a.post("batch", `{"calls":[`+strings.Join(calls, ",")+`]}`)["answers"].([]any)
	require.Greater(t, time.Since(begun), 3*time.Second)
	for i := range calls {
		require.Equal(t, 200.0, answers[i].(map[string]any)["status"], "%v", answers[i])
	}
	require.NotContains(t, g.err.String(), `"level":"error"`)
}
