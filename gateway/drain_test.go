package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/wiretest"
)

// farewell reads what a client is sent last: `gateway:closing`, and no DISCONNECT.
func farewell(t *testing.T, rest []string) Closing {
	t.Helper()
	require.Len(t, rest, 1, "%q", rest)
	var c Closing
	require.NoError(t, json.Unmarshal([]byte(strings.TrimSuffix(strings.TrimPrefix(rest[0], `42["gateway:closing",`), "]")), &c), rest[0])
	return c
}

func TestDrain(t *testing.T) {
	t.Parallel()
	h := open(t)
	var all []*wiretest.Client
	for i := range 20 {
		c, _ := h.enter(t, fmt.Sprint("u", i), []string{"websocket", "polling"}[i%2])
		all = append(all, c)
	}
	waiting := wiretest.Open(t, h.url, "websocket") // has not connected yet
	require.False(t, h.Draining())
	require.Equal(t, 21, h.Connections())

	const spread = 400 * time.Millisecond
	begun := time.Now()
	drained := make(chan time.Duration)
	go func() {
		h.Drain(t.Context(), spread)
		drained <- time.Since(begun)
	}()
	require.Eventually(t, h.Draining, wiretest.Patience, tick)
	for _, transport := range []string{"websocket", "polling"} {
		_, err := wiretest.Try(t, h.url, transport)
		require.ErrorContains(t, err, "503")
	}
	r, err := http.Get(h.url + "?EIO=4&transport=polling")
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	require.Equal(t, "2", r.Header.Get("Retry-After"))

	waits := map[int64]bool{}
	for _, c := range all {
		bye := farewell(t, c.Rest())
		require.Equal(t, "DRAINING", bye.Code)
		require.GreaterOrEqual(t, bye.ReconnectInMs, int64(500))
		require.Less(t, bye.ReconnectInMs, int64(5500))
		waits[bye.ReconnectInMs] = true
	}
	require.Greater(t, len(waits), 10, "they are told to come back one after the other")
	require.Empty(t, waiting.Rest())
	took := <-drained
	require.Greater(t, took, spread/2, "they were not closed all at once")
	require.Less(t, took, spread+10*time.Second)
	require.Zero(t, h.Connections())
	for _, fields := range h.lines(t, "connection closed", 20) {
		require.Equal(t, "server shutting down", fields["reason"])
	}
}

// TestDrainTellsWhoComesLate has a handshake that was under way when the drain began.
func TestDrainTellsWhoComesLate(t *testing.T) {
	t.Parallel()
	h := open(t)
	late := wiretest.Open(t, h.url, "websocket")
	h.Refuse()
	late.Connect("", `{"sessionId":"s-ann"}`)
	rest := late.Rest()
	require.Len(t, rest, 3) // session, limits, and the goodbye
	require.Equal(t, "DRAINING", farewell(t, rest[2:]).Code)
}

func TestDrainEndsWithItsContext(t *testing.T) {
	t.Parallel()
	h := open(t)
	first, _ := h.enter(t, "u1")
	second, _ := h.enter(t, "u2")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.Drain(ctx, time.Hour)
	// One that is closing is for a moment neither open nor counted as closed.
	require.Eventually(t, func() bool { return h.Connections()+closedBy(h) == 2 }, wiretest.Patience, tick)
	alive := 0
	for _, c := range []*wiretest.Client{first, second} {
		require.Contains(t, c.Read(), "DRAINING")
		alive++
	}
	require.Equal(t, 2, alive)
}

// closedBy is how many connections have ended.
func closedBy(h *hall) int { return h.logs.FilterMessage("connection closed").Len() }

func TestCloseSaysGoodbye(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t)
		c, _ := h.enter(t, "ann", transport)
		h.Close()
		require.Equal(t, "SHUTTING_DOWN", farewell(t, c.Rest()).Code)
		h.lines(t, "connection closed", 1)
		require.Zero(t, h.Connections())
	})
}
