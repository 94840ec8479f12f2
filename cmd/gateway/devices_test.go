package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// 50 sessions of one user connect at once to two gateways.
func TestDevicesAreCountedAcrossGateways(t *testing.T) {
	t.Parallel()
	for rule, c := range map[string]struct{ connected, refused, ended int }{
		"oldest:3": {3, 47, 0}, "newest:3": {3, 0, 47}, "single": {1, 0, 49},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			url := redistest.URL(t)
			args := []string{"--redis", url, "--devices", rule, "--limit", "connect=off", "--max-connections-per-user", "0"}
			gates := []*gate{serve(t, args...), serve(t, args...)}
			players := make([]*player, 50)
			ids := make([]string, len(players))
			for i := range ids {
				ids[i] = create(t, url, "ann")
			}
			var wg sync.WaitGroup
			for i := range players {
				p, _, err := dial(t, gates[i%2])
				require.NoError(t, err)
				players[i] = p
			}
			for i, p := range players {
				wg.Go(func() { p.send(`40{"sessionId":"` + ids[i] + `"}`) })
			}
			wg.Wait()
			got := struct{ connected, refused, ended int }{}
			var answered [50]bool
			count := func() bool {
				for i, p := range players {
					hasEnded := !p.open()
					if f, ok := p.look("44", func(frame) bool { return true }); ok {
						answered[i] = true
						var no struct{ Data struct{ Code string } }
						require.NoError(t, json.Unmarshal(f.body, &no))
						require.Contains(t, []string{"TOO_MANY_CONNECTIONS", "SESSION_INVALID"}, no.Data.Code)
						if no.Data.Code == "SESSION_INVALID" { // it gave way before it was told that it is in
							got.ended++
						} else {
							got.refused++
						}
					}
					if _, ok := p.look("40", func(frame) bool { return true }); ok {
						got.connected++
						answered[i] = true
					}
					if f, ok := p.look("42", func(f frame) bool { return f.name == "session:revoked" }); ok {
						require.Contains(t, string(f.body), `"REPLACED"`)
						got.ended++
						got.connected--
					}
					if hasEnded && !answered[i] { // Redis did not answer the gateway in time: a client comes back
						players[i] = gates[i%2].handshake(ids[i])
					}
				}
				return got == c
			}
			if !assert.Eventually(t, count, patience, tick, "%+v", &got) {
				for i, p := range players {
					if !answered[i] {
						t.Logf("player %d, session %s, on %d: open %v, frames %v", i, ids[i][:6], i%2, p.open(), p.frames)
					}
				}
				t.FailNow()
			}
		})
	}
	_, errs, code := command(t, "serve", "--devices", "three", "--redis", redistest.URL(t), "--addr", "127.0.0.1:0", "--admin-addr", "")
	require.Equal(t, cli.ExitUsage, code)
	require.Contains(t, errs, "oldest:N")
}

func TestASecondDeviceOfASinglePlayer(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	one, two := serve(t, "--redis", url, "--devices", "single"), serve(t, "--redis", url, "--devices", "single")
	old, fresh := create(t, url, "ann"), create(t, url, "ann")
	tab, another := one.connect(old), two.connect(old)
	p := two.connect(fresh)
	for _, q := range []*player{tab, another} {
		require.Equal(t, "REPLACED", q.event("session:revoked")["code"])
		require.True(t, q.ended())
	}
	p.ok("session:ping", "")
	must(t, "session", "revoke", fresh, "--redis", url)
	require.True(t, p.ended())
	one.connect(create(t, url, "ann"))
}

// A user may have 20 connections in all, to however many gateways. While the count can not be kept,
// each gateway lets in 20 of its own.
func TestConnectionsOfAUserAreCountedOverAllGateways(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t)
	args := []string{"--redis", rdb.URL(), "--limit", "connect=off"}
	gates := []*gate{serve(t, args...), serve(t, args...)}
	id := create(t, rdb.URL(), "ann")
	all := make([]*player, 20)
	for i := range all {
		all[i] = gates[i%2].connect(id)
	}
	refuses := func(g *gate) {
		t.Helper()
		require.JSONEq(t, `{"message":"You have too many connections.","data":{"code":"TOO_MANY_CONNECTIONS"}}`, string(g.handshake(id).take("44", func(frame) bool { return true }).body))
	}
	refuses(gates[0])
	refuses(gates[1])
	all[7].send("41")
	require.Eventually(t, func() bool { return rdb.Client().SCard(t.Context(), keys.UserConnections("ann")).Val() == 19 }, patience, tick)
	gates[0].connect(id).ok("session:ping", "")
	refuses(gates[1])

	require.NoError(t, rdb.Client().Set(t.Context(), keys.UserConnections("ann"), "it can not be counted", 0).Err())
	for range 9 {
		gates[0].connect(id)
	}
	refuses(gates[0])
	gates[1].connect(id)
}

// A client that comes back takes the place of its own connection, which its gateway believes in
// still, also where its user has as many as may be. Who presents no such connection is refused.
func TestAReturnerTakesThePlaceOfItsConnection(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t)
	args := []string{"--redis", rdb.URL(), "--limit", "connect=off", "--max-connections-per-user", "3"}
	gates := []*gate{serve(t, args...), serve(t, args...)}
	id := create(t, rdb.URL(), "ann")
	present := func(g *gate, pid, offset string) *player {
		t.Helper()
		p, _, err := dial(t, g)
		require.NoError(t, err)
		p.send(fmt.Sprintf(`40{"sessionId":%q,"pid":%q,"offset":%q}`, id, pid, offset))
		return p
	}
	enter := func(g *gate) (p *player, pid, offset string) {
		t.Helper()
		p = g.handshake(id)
		var told struct{ Pid string }
		require.NoError(t, json.Unmarshal(p.take("40", func(frame) bool { return true }).body, &told))
		require.NoError(t, json.Unmarshal(p.take("42", func(f frame) bool { return f.name == "session" }).last, &offset))
		return p, told.Pid, offset
	}
	_, pid, offset := enter(gates[0])
	enter(gates[0])
	enter(gates[1])
	refuses := func(p *player) {
		t.Helper()
		require.JSONEq(t, `{"message":"You have too many connections.","data":{"code":"TOO_MANY_CONNECTIONS"}}`, string(p.take("44", func(frame) bool { return true }).body))
	}
	refuses(gates[1].handshake(id))
	refuses(present(gates[1], "AAAAAAAAAAAAAAAAAAAAAA", offset))
	for range 2 { // to the other gateway, and then to the same one
		p := present(gates[1], pid, offset)
		p.take("40", func(frame) bool { return true })
		require.Equal(t, true, p.event("session")["recovered"])
		p.ok("session:ping", "")
		require.Eventually(t, func() bool { return rdb.Client().SCard(t.Context(), keys.UserConnections("ann")).Val() == 3 }, patience, tick)
		refuses(gates[0].handshake(id))
		time.Sleep(1100 * time.Millisecond) // its client lives: who presents it within a second is another one
	}
}
