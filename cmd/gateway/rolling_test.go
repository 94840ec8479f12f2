package main

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/loadtest"
	"github.com/aeturnis/realtime/internal/redistest"
)

// freeAddr is an address of this machine that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// balance starts HAProxy with the configuration of deploy/ before three addresses, and
// returns its URL.
func balance(t *testing.T, addrs [3]string) string {
	t.Helper()
	listen := freeAddr(t)
	proxy := exec.Command("haproxy", "-db", "-f", "../../deploy/haproxy.cfg")
	proxy.Env = []string{"LISTEN=" + listen, "GATEWAY_1=" + addrs[0], "GATEWAY_2=" + addrs[1], "GATEWAY_3=" + addrs[2]}
	require.NoError(t, proxy.Start(), "haproxy is needed: make deps")
	t.Cleanup(func() {
		_ = proxy.Process.Kill()
		_ = proxy.Wait() // it was killed
	})
	url := "http://" + listen
	require.Eventually(t, func() bool {
		a, err := try(t, "GET", url+"/health/ready", "")
		return err == nil && a.status == 200
	}, patience, tick)
	return url
}

// TestRollingRestart restarts three gateways behind the balancer, one after the other, under
// a mixed load: each player is told before, comes back by itself, and nothing that was
// answered is lost, doubled or out of order.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	url := redistest.Server(t).URL()
	var addrs [3]string
	for i := range addrs {
		addrs[i] = freeAddr(t)
	}
	start := func(i int) *gate {
		return serve(t, "--redis", url, "--addr", addrs[i], "--node", "node-"+addrs[i], "--drain-for", "500ms",
			"--limit", "chat=off", "--limit", "combat=off", "--limit", "connect=off")
	}
	var gates [3]*gate
	for i := range gates {
		gates[i] = start(i)
	}
	target := balance(t, addrs)

	measuring := make(chan struct{})
	type outcome struct {
		loadtest.Result
		err error
	}
	done := make(chan outcome, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		res, err := loadtest.Run(ctx, "mixed", loadtest.Config{
			Target: target, Redis: url, Clients: 30, RoomSize: 10, Rate: 150, For: 10 * time.Minute, Reconnect: true, Timeout: patience,
			Watch: func(on bool) {
				if on {
					close(measuring)
				}
			},
		}, nil)
		done <- outcome{res, err}
	}()
	<-measuring
	for i, g := range gates {
		require.Eventually(t, func() bool { // so that there is somebody to send away
			return strings.Contains(g.err.String(), `"msg":"connection opened"`)
		}, patience, tick)
		require.NoError(t, g.stop())
		gates[i] = start(i)
	}
	stop()
	res := <-done
	require.NoError(t, res.err)
	require.Zero(t, res.Faults(), "%+v", res.Result)
	require.GreaterOrEqual(t, res.Returned, int64(30), "everyone's node was restarted at least once")
	require.Less(t, res.Back.P99, 10_000.0, "ms")
	t.Logf("%d events, %d deliveries, %d returns: 99 %% back after %.0f ms", res.Answered, res.Delivered, res.Returned, res.Back.P99)
}
