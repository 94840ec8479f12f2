// Command client-go is a player in Go: it logs a guest in, joins the channel global, says something
// once, and prints what it hears for as long as it is told.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/zishang520/socket.io/clients/engine/v3/transports"
	"github.com/zishang520/socket.io/clients/socket/v3"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

func main() {
	url := flag.String("url", "http://127.0.0.1:8080", "the gateway")
	hear := flag.Duration("for", time.Minute, "how long to listen")
	flag.Parse()
	if err := play(*url, *hear); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// logGuestIn returns a session id. Guests are for gateways with --dev; a game has its own login.
func logGuestIn(url, name string) (sessionID string, err error) {
	body, err := json.Marshal(map[string]string{"username": name})
	if err != nil {
		return "", err
	}
	res, err := http.Post(url+"/auth/login", "application/json", bytes.NewReader(body)) //nolint:gosec,noctx // the player's gateway
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	var login struct {
		SessionID string `json:"sessionId"`
	}
	if err := json.NewDecoder(res.Body).Decode(&login); err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("the login was answered %s", res.Status)
	}
	return login.SessionID, nil
}

func play(url string, hear time.Duration) error {
	sessionID, err := logGuestIn(url, "gus")
	if err != nil {
		return err
	}
	options := socket.DefaultOptions()
	options.SetAuth(map[string]any{"sessionId": sessionID})
	options.SetTransports(types.NewSet(transports.WebSocket))
	client, err := socket.Connect(url, options)
	if err != nil {
		return err
	}
	defer client.Disconnect()

	refused := make(chan error, 1)
	err = client.On("connect_error", func(why ...any) {
		if !client.Active() { // else it tries again by itself
			refused <- fmt.Errorf("refused: %v", why)
		}
	})
	if err != nil {
		return err
	}
	_ = client.On("chat:message", func(args ...any) { // where recovery is on, the last argument is the offset
		message, _ := args[0].(map[string]any)
		from, _ := message["from"].(map[string]any)
		fmt.Printf("%v: %v\n", from["username"], message["text"])
	})
	_ = client.On("connect", func(...any) {
		if client.Recovered() {
			return // nothing was missed
		}
		client.EmitWithAck("chat:join", map[string]any{"channel": "global"})(func(answer []any, err error) {
			fmt.Println("joined", answer, err)
			text := map[string]any{"channel": "global", "text": "Ahoy from Go", "idempotencyKey": fmt.Sprint(time.Now().UnixNano())}
			client.EmitWithAck("chat:message", text)(func(answer []any, err error) { fmt.Println("said", answer, err) })
		})
	})
	select {
	case err := <-refused:
		return err
	case <-time.After(hear):
		return nil
	}
}
