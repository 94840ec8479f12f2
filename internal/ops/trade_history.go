package ops

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/trade/ledger"
)

type tradeHistory struct {
	cli.RedisFlags `embed:""`
	Character      string `required:"" help:"Show what came to this character, and what left it."`
	Item           string `help:"Only moves of this item, or of gold."`
	Since          string `help:"Only what happened since then: a duration such as 24h, or a time."`
	Most           int    `default:"1000" help:"Show at most this many entries, the newest."`
	JSON           bool   `help:"Print JSON."`
}

// A MoveView is goods that came to a character, or left it. At is Unix ms.
type MoveView struct {
	At        int64        `json:"at"`
	Kind      string       `json:"kind"`      // gift, trade or mint
	Ref       string       `json:"ref"`       // the trade's id, or the mint's
	Direction string       `json:"direction"` // in or out
	With      string       `json:"with"`      // the other character; "" for a mint
	WithUser  string       `json:"withUser"`
	Goods     ledger.Goods `json:"goods"`
}

// Run prints the moves, newest first. What is left out is said on standard error.
func (c tradeHistory) Run(ctx context.Context, s cli.Streams) error {
	if err := checkID("character", c.Character); err != nil {
		return err
	}
	if c.Item != "" {
		if err := checkID("item", c.Item); err != nil {
			return err
		}
	}
	if c.Most < 1 || c.Most > 100_000 {
		return usage.Errorf("--most must be 1 to 100000")
	}
	since, err := parseSince("since", c.Since)
	if err != nil {
		return err
	}
	svc, done, err := openTrades(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	entries, isWhole, err := svc.History(ctx, ledger.HistoryQuery{CharacterID: c.Character, ItemID: c.Item, Since: since, Most: c.Most})
	if err != nil {
		return err
	}
	views := []MoveView{}
	for _, e := range entries {
		for _, m := range e.Moves {
			if c.Item != "" && !m.Has(c.Item) {
				continue
			}
			v := MoveView{At: e.At, Kind: e.Kind, Ref: e.Ref, Goods: m.Goods}
			switch c.Character {
			case m.To:
				v.Direction, v.With, v.WithUser = "in", m.From, m.FromUser
			case m.From:
				v.Direction, v.With, v.WithUser = "out", m.To, m.ToUser
			default:
				continue
			}
			views = append(views, v)
		}
	}
	if !isWhole {
		fmt.Fprintln(s.Err, "there may be more: raise --most, or narrow --since")
	}
	if c.JSON {
		return printJSON(s.Out, views)
	}
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "AT\tKIND\tDIRECTION\tGOODS\tWITH\tUSER\tREF")
	for _, v := range views {
		writeTableRow(t, formatTime(v.At), v.Kind, v.Direction, goodsText(v.Goods), v.With, v.WithUser, v.Ref)
	}
	return t.Flush()
}

// Inventory is the command that shows inventories.
type Inventory struct {
	Show inventoryShow `cmd:"" help:"Show what a character owns, or owned at a time."`
}

type inventoryShow struct {
	cli.RedisFlags `embed:""`
	Character      string `arg:"" help:"The character's id."`
	At             string `placeholder:"TIME" help:"Show what it owned then, by the ledger: a duration before now such as 24h, a date, or a time such as 2026-11-30T03:00:00Z."`
	JSON           bool   `help:"Print JSON."`
}

var errTooOld = errors.New("too much has happened since then: `gateway trade audit` replays the whole ledger")

// Run prints nothing, and exits 0, for a character that owns nothing.
func (c inventoryShow) Run(ctx context.Context, s cli.Streams) error {
	if err := checkID("character", c.Character); err != nil {
		return err
	}
	at, err := parseSince("at", c.At)
	if err != nil {
		return err
	}
	svc, done, err := openTrades(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	var goods ledger.Goods
	if at.IsZero() {
		goods, err = svc.Owned(ctx, c.Character)
	} else {
		goods, err = svc.OwnedAt(ctx, c.Character, at)
	}
	switch {
	case errors.Is(err, ledger.ErrTooOld):
		return errTooOld
	case err != nil:
		return err
	case c.JSON:
		return printJSON(s.Out, goods)
	}
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ITEM\tQUANTITY")
	for _, l := range goods.Items {
		writeTableRow(t, l.ItemID, fmt.Sprint(l.Qty))
	}
	if goods.Gold != 0 {
		writeTableRow(t, ledger.GoldField, fmt.Sprint(goods.Gold))
	}
	return t.Flush()
}
