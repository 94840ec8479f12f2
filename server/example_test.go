package server_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/server"
)

// Greetings is a feature of one event.
type Greetings struct{ services server.Services }

// Start keeps what the server has for its features.
func (g *Greetings) Start(s server.Services) error {
	g.services = s
	return nil
}

// Routes lists the events that players may send.
func (g *Greetings) Routes() []event.Route { return []event.Route{event.On("greetings:say", g.Say)} }

// Casts lists the events that players are sent.
func (g *Greetings) Casts() []event.Cast {
	return []event.Cast{event.Sends[Greeting]("greetings:said", "Somebody greets you.")}
}

// A Greeting says whom to greet.
type Greeting struct {
	UserID string `json:"userId" validate:"required"`
}

// Say greets a user on all devices.
func (g *Greetings) Say(ctx context.Context, p event.Player, in Greeting) (event.None, error) {
	_, _, err := g.services.Rooms.CastUser(ctx, in.UserID, "greetings:said", Greeting{p.UserID})
	return event.None{}, err
}

// A program with a feature of its own calls Run in its main.
func ExampleRun() {
	run := func(ctx context.Context) error {
		return server.Run(ctx, server.Config{
			RedisURL: "redis://redis:6379",
			Features: []server.Feature{&Greetings{}},
		})
	}
	_ = run
}

// What clients may rely on includes the events of the caller's features.
func ExampleContract() {
	types, err := server.Contract(server.Config{Features: []server.Feature{&Greetings{}}}, "typescript")
	fmt.Println(strings.Contains(string(types), "'greetings:say'"), err)
	// Output: true <nil>
}
