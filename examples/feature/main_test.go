package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"example.com/feature/dice"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/server"
)

// patience is for what happens at once on a machine that is not busy.
const patience = 15 * time.Second

// startServer serves on free ports with an embedded Redis until the test ends, and returns the
// URLs for players and for operators.
func startServer(t *testing.T) (public, admin string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, said := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := server.Run(ctx, server.Config{
			Addr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Dev: true, DrainFor: -1,
			Out: said, LogTo: io.Discard, Features: []server.Feature{&dice.Feature{}},
		})
		_ = said.CloseWithError(fmt.Errorf("the server ended: %w", err))
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			public = url
		}
		if rest, ok := strings.CutPrefix(lines.Text(), "operators "); ok {
			admin = strings.TrimSuffix(strings.TrimSpace(rest), "/metrics")
			break
		}
	}
	require.NoError(t, lines.Err())
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return public, admin
}

// logIn returns the session id of a guest.
func logIn(t *testing.T, public, name string) string {
	t.Helper()
	res, err := http.Post(public+"/auth/login", "application/json", strings.NewReader(fmt.Sprintf(`{"username":%q}`, name)))
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	require.Equal(t, http.StatusCreated, res.StatusCode)
	var answer struct{ SessionID string }
	require.NoError(t, json.NewDecoder(res.Body).Decode(&answer))
	return answer.SessionID
}

// A player is a Socket.IO client over a websocket.
type player struct {
	t    *testing.T
	conn *websocket.Conn
}

func connect(t *testing.T, public, name string) *player {
	t.Helper()
	conn, res, err := websocket.DefaultDialer.Dial(strings.Replace(public, "http", "ws", 1)+"/socket.io/?EIO=4&transport=websocket", nil)
	require.NoError(t, err)
	_ = res.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	p := &player{t, conn}
	p.send(fmt.Sprintf(`40{"sessionId":%q}`, logIn(t, public, name)))
	p.receive("40")
	return p
}

func (p *player) send(packet string) {
	p.t.Helper()
	require.NoError(p.t, p.conn.WriteMessage(websocket.TextMessage, []byte(packet)))
}

// receive returns the next packet that begins with prefix, without the prefix.
func (p *player) receive(prefix string) string {
	p.t.Helper()
	require.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	for {
		_, b, err := p.conn.ReadMessage()
		require.NoError(p.t, err)
		if rest, ok := strings.CutPrefix(string(b), prefix); ok {
			return rest
		}
	}
}

func TestDice(t *testing.T) {
	public, admin := startServer(t)
	ann, bob := connect(t, public, "ann"), connect(t, public, "bob")

	ann.send(`421["dice:roll",{"table":"red","dice":2}]`)
	require.Contains(t, ann.receive("431"), "DICE_NOT_SEATED")
	ann.send(`422["dice:sit",{"table":"red"}]`)
	require.Equal(t, `[{"ok":true,"data":{"table":"red"}}]`, ann.receive("432"))
	bob.send(`421["dice:sit",{"table":"red"}]`)
	bob.receive("431")

	ann.send(`423["dice:roll",{"table":"red","dice":2}]`)
	var arguments []json.RawMessage // the payload, and the offset for clients that come back
	require.NoError(t, json.Unmarshal([]byte("["+bob.receive(`42["dice:rolled",`)), &arguments))
	require.Len(t, arguments, 2)
	var rolled dice.Rolled
	require.NoError(t, json.Unmarshal(arguments[0], &rolled))
	require.Equal(t, "ann", rolled.By)
	require.Len(t, rolled.Dice, 2)
	require.Equal(t, rolled.Dice[0]+rolled.Dice[1], rolled.Total)
	require.EqualValues(t, 1, rolled.Count)
	require.Contains(t, ann.receive("433"), `"ok":true`)

	ann.send(`424["dice:roll",{"table":"red","dice":11}]`)
	require.Contains(t, ann.receive("434"), `"INVALID"`)

	metrics, err := http.Get(admin + "/metrics")
	require.NoError(t, err)
	text, err := io.ReadAll(metrics.Body)
	_ = metrics.Body.Close()
	require.NoError(t, err)
	require.Contains(t, string(text), "dice_rolls_total 1\n")
}

// The events of the feature are in what clients are given to rely on.
func TestContract(t *testing.T) {
	types, err := server.Contract(server.Config{Features: []server.Feature{&dice.Feature{}}}, "typescript")
	require.NoError(t, err)
	require.Contains(t, string(types), "'dice:roll': (payload: DiceRollRequest, ")
	for _, line := range []string{
		"'dice:rolled': (payload: DiceRolled, offset?: string) => void;",
		"'dice:ready': (payload: DiceTable, answer: (reply: DiceReadiness) => void) => void;",
		"'dice:painted': (payload: DicePainted, offset?: string) => void;",
		"'dice:shaken': (payload: DiceShaken) => void;",
		"/** (not empty, at most 16384 bytes) */\n  picture: ArrayBuffer | Uint8Array;",
		"A client that is behind misses it (volatile).",
	} {
		require.Contains(t, string(types), line)
	}
}

// hasty is a feature whose table can not work.
type hasty struct{}

func (hasty) Routes() []event.Route { return nil }
func (hasty) Casts() []event.Cast {
	return []event.Cast{event.Asks[event.None, event.None]("hasty:ask", "To nobody.").Cast().Volatile()}
}

// What can not work is refused at start.
func TestATableThatCanNotWork(t *testing.T) {
	err := server.Run(t.Context(), server.Config{Dev: true, Addr: "127.0.0.1:0", LogTo: io.Discard, Out: io.Discard, Features: []server.Feature{hasty{}}})
	require.ErrorContains(t, err, "cast hasty:ask: a question can not be volatile")
}
