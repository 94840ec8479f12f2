package chaos

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/signedpost"
	"github.com/aeturnis/realtime/internal/webhooks"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/trade"
	"github.com/aeturnis/realtime/trade/ledger"
)

const webhookSecret = "a secret of the chaos"

// serveWebhooks is the receiver, a process of its own: it writes each event into a file, and then
// answers.
func serveWebhooks(addr, file string) error {
	log, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // the test names it
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	var mu sync.Mutex
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // the test kills it
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender was killed
		}
		if err := signedpost.Verify(r.Header.Get(signedpost.HeaderName), time.Now(), body, []byte(webhookSecret)); err != nil {
			body = []byte("badly signed")
		}
		mu.Lock()
		_, err = log.Write(append(body, '\n'))
		mu.Unlock()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
}

// A receiverProcess is one receiver process.
type receiverProcess struct{ cmd *exec.Cmd }

func startReceiver(t *testing.T, addr, file string) *receiverProcess {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) { // the port of the one before may not be free yet
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CHAOS_RECEIVER="+addr, "CHAOS_RECEIVED="+file)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		if line, err := bufio.NewReader(out).ReadString('\n'); err == nil && line == "listening\n" {
			return &receiverProcess{cmd}
		}
		_ = cmd.Wait()
		require.Less(t, time.Since(begun), 30*time.Second, "the receiver does not start")
	}
}

func (r *receiverProcess) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// readReceived returns the events that the receivers wrote, in their order.
func readReceived(t *testing.T, file string) (all []webhooks.Event) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for line := range bytes.Lines(text) {
		var e webhooks.Event
		require.NoError(t, json.Unmarshal(bytes.TrimSpace(line), &e), "%s", line)
		all = append(all, e)
	}
	return all
}

// While players connect, give to each other and go, while sessions end and items are minted, nodes,
// the receiver and Redis are killed (kill -9); Redis comes back with its append-only file, which it
// writes before it answers. In the end every event was received at least once, none is
// left or parked, and the first receipts of each player's events are in the order in which they
// happened.
func TestWebhooksOverKills(t *testing.T) {
	t.Parallel()
	lasts, killEvery := 4*time.Second, 700*time.Millisecond
	if isFullRun() {
		lasts = 90 * time.Second
	}
	w := newWorld(t, oneServer(t))
	dir := t.TempDir()
	secretFile, received := filepath.Join(dir, "secret"), filepath.Join(dir, "received")
	require.NoError(t, os.WriteFile(secretFile, []byte(webhookSecret+"\n"), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	flags := []string{"--webhook-url", "http://" + addr + "/events", "--webhook-secret-file", secretFile, "--webhook-retry", "20ms"}
	receiver := startReceiver(t, addr, received)
	t.Cleanup(func() { receiver.kill() })
	var mu sync.Mutex // guards gateways
	gateways := []*gatewayProcess{w.startGateway("", flags...), w.startGateway("", flags...)}
	gatewayOf := func(i int) *gatewayProcess {
		mu.Lock()
		defer mu.Unlock()
		return gateways[i%len(gateways)]
	}
	require.Eventually(t, func() bool { return w.rdb.Exists(t.Context(), keys.WebhookSettings).Val() == 1 }, 30*time.Second, 10*time.Millisecond)
	outbox, err := webhooks.OpenOutbox(t.Context(), w.rdb)
	require.NoError(t, err)

	until, stop := context.WithTimeout(t.Context(), lasts)
	defer stop()
	var playing sync.WaitGroup
	for me := range names {
		playing.Go(func() {
			for turn := me; until.Err() == nil; turn++ {
				p, err := w.connectPlayer(gatewayOf(turn), me)
				if err != nil {
					continue
				}
				for range 1 + rand.N(8) {
					if _, answered := w.giveGift(p, w.newGift(me, (me+1)%len(names), 1)); !answered {
						break
					}
				}
				p.closeConnection()
			}
		})
	}
	var ended, minted int
	playing.Go(func() { // what operators' commands do
		store := sessions.New(w.rdb, sessions.Config{AnnounceLua: outbox.SessionLua()})
		books := trade.New(w.rdb, nil, nil, nil, trade.Config{AnnounceLua: outbox.LedgerLua()})
		for until.Err() == nil {
			s, err := store.Create(t.Context(), "visitor", "visitor", nil, sessions.Options{})
			if err == nil && store.Destroy(t.Context(), s.ID, sessions.LoggedOut, "") == nil {
				ended++
			}
			if _, err := books.Mint(t.Context(), trade.MintRequest{CharacterID: "visitor", Gold: 1}); err == nil {
				minted++
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	kills := 0
	for ; until.Err() == nil; kills++ {
		select {
		case <-until.Done():
			continue
		case <-time.After(killEvery):
		}
		switch kills % 4 {
		case 0, 2:
			receiver.kill()
			receiver = startReceiver(t, addr, received)
			continue
		case 3:
			w.servers[0].Kill()
			w.restart(0)
			continue
		}
		i := kills / 4 % len(gateways)
		dead := gatewayOf(i)
		dead.killProcess()
		fresh := w.startGateway("", flags...)
		mu.Lock()
		gateways[i] = fresh
		mu.Unlock()
	}
	playing.Wait()

	// All clients have gone, so nothing may be left.
	require.Eventually(t, func() bool {
		return w.rdb.XLen(t.Context(), keys.Webhooks).Val() == 0 && len(w.rdb.Keys(t.Context(), keys.WebhookConnections("*")).Val()) == 0
	}, 60*time.Second, 50*time.Millisecond, "webhooks are left")
	require.Zero(t, w.rdb.XLen(t.Context(), keys.WebhooksParked).Val())
	require.Zero(t, w.rdb.HLen(t.Context(), keys.WebhookTries).Val())

	all := readReceived(t, received)
	count, first := map[string]int{}, map[string]int{}
	var distinct []webhooks.Event
	for _, e := range all {
		if count[e.ID]++; count[e.ID] == 1 {
			first[e.ID] = len(distinct)
			distinct = append(distinct, e)
		}
	}
	t.Logf("%d kills; %d events, %d receipts", kills, len(distinct), len(all))

	// Each entry of the ledger, in its order for each user and each character.
	lastOf := map[string]int{}
	told := 0
	for after := ""; ; {
		entries, err := w.books.Ledger(t.Context(), after, 1000)
		require.NoError(t, err)
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			after = e.StreamID
			if e.Kind == ledger.KindMint && e.Moves[0].To != "visitor" { // before there was a receiver
				continue
			}
			told++
			at, isThere := first[e.Ref]
			require.True(t, isThere, "lost: %s %s", e.Kind, e.Ref)
			for _, m := range e.Moves {
				for _, who := range []string{"user " + m.FromUser, "user " + m.ToUser, "character " + m.From, "character " + m.To} {
					if !strings.HasSuffix(who, " ") {
						require.GreaterOrEqual(t, at, lastOf[who], "%s: %s came before an earlier one", who, e.Ref)
						lastOf[who] = at
					}
				}
			}
		}
	}
	types := map[string]int{}
	state := map[string]string{} // of connections: the type of the last event
	for _, e := range distinct {
		types[e.Type]++
		if e.Type != webhooks.Connected && e.Type != webhooks.Disconnected {
			continue
		}
		var data struct {
			Connection string `json:"connection"`
		}
		require.NoError(t, json.Unmarshal(e.Data, &data))
		require.NotEqual(t, state[data.Connection], e.Type, "a beginning is followed by its end")
		require.False(t, e.Type == webhooks.Disconnected && state[data.Connection] == "", "an end has a beginning")
		state[data.Connection] = e.Type
	}
	require.Equal(t, types[webhooks.Connected], types[webhooks.Disconnected], "each connection's end is told")
	require.GreaterOrEqual(t, types[webhooks.SessionEnded], ended)
	require.GreaterOrEqual(t, types[webhooks.ItemMinted], minted)
	require.Equal(t, told, types[webhooks.TradeCompleted]+types[webhooks.ItemMinted])
	require.Positive(t, types[webhooks.Connected])
	require.Positive(t, types[webhooks.TradeCompleted])
	t.Log(types)
}
