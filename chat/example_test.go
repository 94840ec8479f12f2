package chat_test

import (
	"context"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/redisconn"
)

// A player joins a channel and speaks in it. Speaking in a channel without joining is refused.
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

// A message is kept in the channel's history, until a moderator deletes it.
func Example_history() {
	ctx := context.Background()
	server, _ := redisconn.Embedded(ctx, redisconn.EmbeddedConfig{})
	defer server.Close()
	rdb, _ := redisconn.Open(ctx, server.URL(), redisconn.Config{})
	defer rdb.Close()
	s := chat.New(rdb, newRooms(), chat.Config{
		RedisTimeout: time.Minute, // longer than any example takes
		Audit:        func(a chat.ModeratorAction) { fmt.Println(a.Event, "by", a.By) },
	})
	defer s.Close()

	ann := event.Player{UserID: "u1", Username: "ann"} // as in POST /chat/message: no connection
	first, _ := s.Send(ctx, ann, chat.Draft{Channel: "global", Text: "oops"})
	h, _ := s.History(ctx, ann, chat.HistoryQuery{Channel: "global"})
	for len(h.Messages) == 0 { // it is written in the background
		h, _ = s.History(ctx, ann, chat.HistoryQuery{Channel: "global"})
	}
	fmt.Println(len(h.Messages), h.Messages[0].From.Username, h.Messages[0].Text)

	_, err := s.Delete(ctx, event.Player{UserID: "mod"}, chat.DeleteRequest{Channel: "global", ID: first.ID})
	h, _ = s.History(ctx, ann, chat.HistoryQuery{Channel: "global"})
	fmt.Println(len(h.Messages), err)
	// Output:
	// 1 ann oops
	// chat:delete by mod
	// 0 <nil>
}
