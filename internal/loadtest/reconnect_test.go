package loadtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWhoReturnsGoesOn cuts all connections at once, without gateway:closing.
func TestWhoReturnsGoesOn(t *testing.T) {
	t.Parallel()
	p := startPeer(t)
	for _, scenario := range []string{"ping", "chat", "mixed"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			x := startProxy(t, p.url, "-", "pass", 1)
			cfg := settings(p)
			cfg.Target, cfg.Rate, cfg.For, cfg.Reconnect = x.url, 200, 4*time.Second, true
			if scenario == "mixed" {
				cfg.Inflight = 1 // the peer may answer different events out of order
			}
			cfg.Watch = func(on bool) {
				if on {
					time.AfterFunc(500*time.Millisecond, x.cut)
				}
			}
			res, err := Run(context.Background(), scenario, cfg, nil)
			require.NoError(t, err)
			require.EqualValues(t, cfg.Clients, res.Returned, "%+v", res)
			require.EqualValues(t, cfg.Clients, res.Disconnected, "nobody said goodbye")
			require.EqualValues(t, cfg.Clients, res.Faults(), "and nothing else is a fault: %+v", res)
			require.Greater(t, res.Back.P99, 400.0, "as a browser, about a second later")
			require.Greater(t, res.Answered, int64(150), "they went on: %+v", res)
		})
	}
}

// TestWhoReturnsForgivesNothing does mischief while the connections live, which a reconnect must
// not excuse.
func TestWhoReturnsForgivesNothing(t *testing.T) {
	t.Parallel()
	p := startPeer(t)
	for what, of := range map[string]func(Result) int64{
		"drop":   func(r Result) int64 { return r.Lost },
		"double": func(r Result) int64 { return r.Doubled },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			x := startProxy(t, p.url, `42["chat:message"`, what, 10)
			cfg := settings(p)
			cfg.Target, cfg.Clients, cfg.Rate, cfg.Reconnect, cfg.Timeout = x.url, 4, 200, true, 5*time.Second
			cfg.Watch = func(on bool) {
				if !on {
					return
				}
				time.AfterFunc(cfg.For/2, x.cut)
			}
			cfg.For = 4 * time.Second
			res, err := Run(context.Background(), "chat", cfg, nil)
			require.NoError(t, err)
			res.Samples, res.Distribution = nil, nil
			require.EqualValues(t, 4, res.Returned, "%+v", res)
			require.InDelta(t, x.done.Load(), of(res), float64(4*(4+res.Sent-res.Answered)), "only what was on its way when the connections ended, a few messages to four, is forgiven: %+v", res)
			require.Greater(t, of(res), int64(10))
		})
	}
}

func TestTradersDoNotReturn(t *testing.T) {
	t.Parallel()
	for _, scenario := range []string{"trade", "storm", "connect"} {
		_, err := Run(context.Background(), scenario, Config{Target: "http://127.0.0.1:1", Reconnect: true}, nil)
		require.ErrorIs(t, err, ErrConfig, scenario)
	}
}
