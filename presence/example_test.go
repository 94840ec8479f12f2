package presence_test

import (
	"context"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/presence"
	"github.com/aeturnis/realtime/redisconn"
)

// loud prints what the members of a channel receive.
type loud chan string

func (l loud) Broadcast(_ context.Context, channel, event string, payload any) error {
	l <- fmt.Sprint(event, " ", payload.(presence.Movement).User.Username, " in ", channel)
	return nil
}

// A user with two devices joins once, and leaves with the last of them.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	server, _ := redisconn.Embedded(ctx, redisconn.EmbeddedConfig{})
	defer server.Close()
	rdb, _ := redisconn.Open(ctx, server.URL(), redisconn.Config{})
	defer rdb.Close()

	told := make(loud, 8)
	s := presence.New(rdb, told, presence.Config{Grace: 10 * time.Millisecond})
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()

	phone := event.Player{UserID: "u1", Username: "ann", Conn: "phone"} // as the gateway tells it
	laptop := event.Player{UserID: "u1", Username: "ann", Conn: "laptop"}
	for _, p := range []event.Player{phone, laptop} {
		s.Connected(p)
		s.Joined(p, "zone:harbour")
	}
	fmt.Println(<-told)
	page, err := s.List(ctx, phone, presence.Query{Channel: "zone:harbour"})
	fmt.Println(page.Users, page.Total, err)

	s.Left(phone, "zone:harbour")
	s.Disconnected(laptop)
	fmt.Println(<-told)
	cancel()
	fmt.Println(<-done)
	// Output:
	// presence:joined ann in zone:harbour
	// [{u1 ann }] 1 <nil>
	// presence:left ann in zone:harbour
	// <nil>
}
