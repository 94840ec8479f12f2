// Package dice is a game feature of its own Go module: players sit down at a table and roll dice
// that everybody at the table sees.
package dice

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/server"
)

// ErrNotSeated refuses a roll at a table where the player does not sit.
var ErrNotSeated = fault.New("DICE_NOT_SEATED", "Sit down at the table first.")

// A Feature serves the events dice:sit and dice:roll.
type Feature struct {
	services server.Services
	rolls    atomic.Int64
}

// Start keeps what the server has for its features.
func (f *Feature) Start(s server.Services) error {
	f.services = s
	return nil
}

// Routes lists the events that players may send. Rolls are paid for from the policy `chat`.
func (f *Feature) Routes() []event.Route {
	return []event.Route{
		event.On("dice:sit", f.Sit).Limit("rooms"),
		event.On("dice:roll", f.Roll).Limit("chat"),
		event.On("dice:call", f.Call).Limit("chat"),
		event.On("dice:shake", f.Shake).Unlimited("it only moves a cup on the screen"),
		event.On("dice:paint", f.Paint).Limit("chat"),
	}
}

// ready is a question that players answer by the acknowledgement.
var ready = event.Asks[Table, Readiness]("dice:ready", "To everybody at the table: are you ready?")

// Casts lists the events that players are sent.
func (f *Feature) Casts() []event.Cast {
	return []event.Cast{
		event.Sends[Rolled]("dice:rolled", "To everybody at the table: somebody rolled."),
		event.Sends[Shaken]("dice:shaken", "To everybody at the table: how somebody holds the cup.").Volatile(),
		event.Sends[Painted]("dice:painted", "To everybody at the table: somebody has new dice."),
		ready.Cast(),
	}
}

// Table names a table.
type Table struct {
	Table string `json:"table" validate:"required,max=32"`
}

// RollRequest is what a player rolls.
type RollRequest struct {
	Table string `json:"table" validate:"required,max=32"`
	Dice  int    `json:"dice" validate:"min=1,max=10"`
}

// Rolled is a roll, as everybody at the table sees it.
type Rolled struct {
	Table string `json:"table"`
	By    string `json:"by"`
	Dice  []int  `json:"dice"`
	Total int    `json:"total"`
	Count int64  `json:"count"` // rolls at this table so far, on all nodes
}

// Sit puts the player's connection at the table.
func (f *Feature) Sit(ctx context.Context, p event.Player, in Table) (Table, error) {
	_, err := f.services.Rooms.Join(ctx, p.Conn, tableRoom(in.Table))
	return in, err
}

// Roll rolls, and shows the dice to everybody at the table. Errors: DICE_NOT_SEATED.
func (f *Feature) Roll(ctx context.Context, p event.Player, in RollRequest) (Rolled, error) {
	room := tableRoom(in.Table)
	if !f.services.Rooms.In(p.Conn, room) {
		return Rolled{}, ErrNotSeated
	}
	out := Rolled{Table: in.Table, By: p.Username}
	for range in.Dice {
		die := 1 + rand.IntN(6)
		out.Dice = append(out.Dice, die)
		out.Total += die
	}
	var err error
	if out.Count, err = f.services.Redis.Incr(ctx, countKey(in.Table)).Result(); err != nil {
		return Rolled{}, err
	}
	f.rolls.Add(1)
	return out, f.services.Rooms.Cast(ctx, room, "dice:rolled", out)
}

// ShakeRequest is how a player holds the cup.
type ShakeRequest struct {
	Table string `json:"table" validate:"required,max=32"`
	Angle int    `json:"angle" validate:"min=0,max=359"`
}

// Shaken is how somebody holds the cup: only the newest one is worth anything.
type Shaken struct {
	By    string `json:"by"`
	Angle int    `json:"angle"`
}

// Shake shows everybody at the table how the player holds the cup. Errors: DICE_NOT_SEATED.
func (f *Feature) Shake(ctx context.Context, p event.Player, in ShakeRequest) (event.None, error) {
	room := tableRoom(in.Table)
	if !f.services.Rooms.In(p.Conn, room) {
		return event.None{}, ErrNotSeated
	}
	return event.None{}, f.services.Rooms.Cast(ctx, room, "dice:shaken", Shaken{p.Username, in.Angle})
}

// PaintRequest has a picture for the player's dice.
type PaintRequest struct {
	Table   string       `json:"table" validate:"required,max=32"`
	Picture event.Binary `json:"picture" validate:"required,max=16384"`
}

// Painted is a picture of somebody's dice.
type Painted struct {
	By      string       `json:"by"`
	Picture event.Binary `json:"picture"`
}

// Paint shows everybody at the table the player's new dice. Errors: DICE_NOT_SEATED.
func (f *Feature) Paint(ctx context.Context, p event.Player, in PaintRequest) (Painted, error) {
	room := tableRoom(in.Table)
	if !f.services.Rooms.In(p.Conn, room) {
		return Painted{}, ErrNotSeated
	}
	out := Painted{p.Username, in.Picture}
	return out, f.services.Rooms.Cast(ctx, room, "dice:painted", out)
}

// Readiness is what a player answers to dice:ready.
type Readiness struct {
	Ready bool `json:"ready"`
}

// Called says who at the table is ready.
type Called struct {
	Asked int      `json:"asked"` // connections, on all nodes
	Ready []string `json:"ready"` // user ids
}

// Call asks everybody at the table, the caller too, whether they are ready. Errors:
// DICE_NOT_SEATED.
func (f *Feature) Call(ctx context.Context, p event.Player, in Table) (Called, error) {
	room := tableRoom(in.Table)
	if !f.services.Rooms.In(p.Conn, room) {
		return Called{}, ErrNotSeated
	}
	answers, err := ready.Ask(ctx, f.services.Rooms, room, in)
	out := Called{Asked: answers.Asked, Ready: []string{}}
	for _, a := range answers.All {
		if a.Reply.Ready && !slices.Contains(out.Ready, a.UserID) {
			out.Ready = append(out.Ready, a.UserID)
		}
	}
	return out, err
}

// Describe makes the feature a prometheus.Collector, so that its metrics are at /metrics.
func (f *Feature) Describe(ch chan<- *prometheus.Desc) { ch <- rollsDesc }

// Collect sends the number of rolls on this node.
func (f *Feature) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(rollsDesc, prometheus.CounterValue, float64(f.rolls.Load()))
}

var rollsDesc = prometheus.NewDesc("dice_rolls_total", "Rolls on this node.", nil, nil)

// tableRoom returns the room of everybody who sits at a table.
func tableRoom(table string) string { return "dice:" + table }

// countKey returns the Redis key of the number of rolls at a table. A feature's keys begin with its
// name.
func countKey(table string) string { return "dice:" + table + ":count" }
