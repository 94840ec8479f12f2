package chat_test

import (
	"context"
	"fmt"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
)

// A player joins a channel, speaks in it, and is not heard where it did not join.
func Example() {
	gateway := newRooms() // in production, the gateway
	s := chat.New(nil, gateway, chat.Config{})
	ctx := context.Background()
	ann := event.Player{UserID: "u1", Username: "ann", CharacterID: "c1", Conn: "1"}

	members, _ := s.Join(ctx, ann, chat.Channel{Channel: "zone:harbour"})
	fmt.Printf("%+v\n", members)

	_, err := s.Send(ctx, ann, chat.Draft{Channel: "zone:harbour", Text: "Land ahoy!"})
	fmt.Println(err, gateway.casts[0].room, gateway.casts[0].payload.(*chat.Message).Text)

	_, err = s.Send(ctx, ann, chat.Draft{Channel: "global", Text: "anybody?"})
	fmt.Println(err)
	// Output:
	// {Channel:zone:harbour Members:1}
	// <nil> chat:zone:harbour Land ahoy!
	// NOT_IN_CHANNEL: Join the channel before you speak in it.
}
