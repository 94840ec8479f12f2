package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/internal/webhooks"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/trade"
	"github.com/aeturnis/realtime/trade/ledger"
)

// Trade is the command that mints, shows and audits.
type Trade struct {
	Mint    tradeMint    `cmd:"" help:"Create items or gold. The ledger records it."`
	Show    tradeShow    `cmd:"" help:"Show one trade, with the times of its offers."`
	List    tradeList    `cmd:"" help:"List the newest trades."`
	History tradeHistory `cmd:"" help:"Show what came to a character and what left it, by the ledger."`
	Audit   tradeAudit   `cmd:"" help:"Prove that nothing was lost or doubled. Otherwise the command names every break and exits with status 1."`
}

// openTrades opens Redis and the trades in it, for reading and minting. The caller calls done at
// the end.
func openTrades(ctx context.Context, f cli.RedisFlags) (svc *trade.Service, done func(), err error) {
	rdb, err := f.OpenRedis(ctx)
	if err != nil {
		return nil, nil, err
	}
	return trade.New(rdb, nil, nil, nil, trade.Config{}), func() { _ = rdb.Close() }, nil
}

type tradeMint struct {
	cli.RedisFlags `embed:""`
	Character      string `required:"" help:"This character gets it."`
	Item           string `help:"The item's id."`
	Qty            int64  `help:"Create this many of the item."`
	Gold           int64  `help:"Create this much gold."`
	Key            string `help:"Mint once under this name, however often the command is repeated."`
	JSON           bool   `help:"Print JSON."`
}

// A MintView is what was minted.
type MintView struct {
	MintID      string       `json:"mintId"`
	CharacterID string       `json:"characterId"`
	Goods       ledger.Goods `json:"goods"`
}

// Run prints the mint's id.
func (c tradeMint) Run(ctx context.Context, s cli.Streams) error {
	if c.Item == "" && c.Gold == 0 {
		return usage.Errorf("--item with --qty, or --gold, is required")
	}
	if err := checkID("character", c.Character); err != nil {
		return err
	}
	rdb, err := c.OpenRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	outbox, err := webhooks.OpenOutbox(ctx, rdb)
	if err != nil {
		return err
	}
	svc := trade.New(rdb, nil, nil, nil, trade.Config{AnnounceLua: outbox.LedgerLua()})
	in := trade.MintRequest{Key: c.Key, CharacterID: c.Character, Gold: c.Gold}
	if c.Item != "" || c.Qty != 0 {
		in.Items = []trade.Line{{ItemID: c.Item, Qty: c.Qty}}
	}
	id, err := svc.Mint(ctx, in)
	if err != nil {
		return asUsageError(err)
	}
	goods := ledger.Goods{Items: in.Items, Gold: in.Gold}
	recordAct(ctx, rdb, s, auditlog.Act{What: "trade mint", Target: c.Character, To: goodsText(goods), Why: id})
	if c.JSON {
		return printJSON(s.Out, MintView{id, c.Character, goods})
	}
	_, err = fmt.Fprintln(s.Out, id)
	return err
}

type tradeShow struct {
	cli.RedisFlags `embed:""`
	ID             string `arg:"" help:"The trade's id."`
	JSON           bool   `help:"Print JSON."`
}

// Run exits 1 when there is no such trade.
func (c tradeShow) Run(ctx context.Context, s cli.Streams) error {
	if err := checkID("id", c.ID); err != nil {
		return err
	}
	svc, done, err := openTrades(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	t, err := svc.Inspect(ctx, c.ID)
	switch {
	case errors.Is(err, fault.ErrNotFound):
		return errors.New("there is no such trade")
	case err != nil:
		return err
	case c.JSON:
		return printJSON(s.Out, t)
	}
	return printTradeDetails(s.Out, t)
}

// printTradeDetails prints one trade, with a row for each side.
func printTradeDetails(w io.Writer, d trade.Details) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	writeTableRow(w, fmt.Sprintf("%s %s: %s, version %d", d.Kind, d.TradeID, d.Status, d.Version))
	writeTableRow(w, fmt.Sprintf("opened %s, ended %s %s", formatTime(d.CreatedAt), formatTime(d.EndedAt), d.Reason))
	fmt.Fprintln(t, "USER\tCHARACTER\tGIVES\tOFFERED AT\tACCEPTED\tACCEPTED AT")
	for i, p := range d.Parties {
		writeTableRow(t, p.UserID, p.CharacterID, goodsText(p.Offer), formatTime(d.Sides[i].OfferedAt), strconv.FormatBool(p.Accepted), formatTime(d.Sides[i].AcceptedAt))
	}
	return t.Flush()
}

type tradeList struct {
	cli.RedisFlags `embed:""`
	Open           bool `help:"List the open trades instead of the newest completed ones."`
	JSON           bool `help:"Print JSON."`
}

// Run prints the newest completed trades, newest first; or the open ones.
func (c tradeList) Run(ctx context.Context, s cli.Streams) error {
	svc, done, err := openTrades(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	list := svc.List
	if c.Open {
		list = svc.OpenTrades
	}
	all, err := list(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, all)
	}
	return printTrades(s.Out, all...)
}

func printTrades(w io.Writer, all ...trade.Trade) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TRADE\tSTATUS\tAT\tFROM\tTO\tGIVES\tGETS")
	for _, x := range all {
		cells := []string{x.TradeID, string(x.Status), time.UnixMilli(x.CreatedAt).UTC().Format(time.RFC3339)}
		var who, what []string
		for _, p := range x.Parties {
			who = append(who, p.CharacterID)
			what = append(what, goodsText(p.Offer))
		}
		writeTableRow(t, append(append(cells, who...), what...)...)
	}
	return t.Flush()
}

// goodsText returns goods as "2 apple, 5 gold".
func goodsText(g ledger.Goods) string {
	var goods []string
	for _, i := range g.Items {
		goods = append(goods, strconv.FormatInt(i.Qty, 10)+" "+i.ItemID)
	}
	if g.Gold > 0 {
		goods = append(goods, strconv.FormatInt(g.Gold, 10)+" gold")
	}
	return strings.Join(goods, ", ")
}

type tradeAudit struct {
	cli.RedisFlags `embed:""`
	Against        string `placeholder:"URL" help:"Name each trade and mint that only this other Redis has, and exit with status 1 if there are any: after a move, what the former server acknowledged last. The other flags about Redis count for both."`
	JSON           bool   `help:"Print JSON."`
}

var (
	errAudit     = errors.New("the audit found breaks")
	errOnlyThere = errors.New("the other Redis has trades or mints that this one does not have")
)

// tradeAuditView is a report, and what only the other server has where there is one.
type tradeAuditView struct {
	ledger.Report `json:",inline"`
	OnlyThere     []ledger.Entry `json:"onlyThere,omitzero"`
}

// findMissing returns what the ledger of the other server has and svc has not.
func (c tradeAudit) findMissing(ctx context.Context, svc *trade.Service) ([]ledger.Entry, error) {
	there := c.RedisFlags
	there.Redis, there.RedisURLFile = c.Against, ""
	if redisconn.HasPassword(c.Against) {
		there.RedisPassword = ""
	}
	other, done, err := openTrades(ctx, there)
	if err != nil {
		return nil, fmt.Errorf("--against: %w", err)
	}
	defer done()
	return svc.MissingFrom(ctx, other)
}

// printMissing prints a line for each entry that only the other server has.
func printMissing(w io.Writer, against string, missing []ledger.Entry) {
	fmt.Fprintf(w, "against %s: %d trades and mints only there\n", redisconn.Redact(against), len(missing))
	for _, e := range missing {
		for _, m := range e.Moves {
			fmt.Fprintf(w, "ONLY THERE %s %s at %s: %s from %q to %q\n", e.Kind, e.Ref, time.UnixMilli(e.At).UTC().Format(time.RFC3339), goodsText(m.Goods), m.From, m.To)
		}
		if len(e.Moves) == 0 {
			fmt.Fprintf(w, "ONLY THERE %s %s: unreadable\n", e.Kind, e.Ref)
		}
	}
}

// Run exits 1 when anything is wrong, and names it.
func (c tradeAudit) Run(ctx context.Context, s cli.Streams) error {
	svc, done, err := openTrades(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	r, err := svc.Audit(ctx)
	if err != nil {
		return err
	}
	var missing []ledger.Entry
	if c.Against != "" {
		if missing, err = c.findMissing(ctx, svc); err != nil {
			return err
		}
	}
	if c.JSON {
		err = printJSON(s.Out, tradeAuditView{r, missing})
	} else {
		_, err = fmt.Fprintf(s.Out, "%d ledger entries: %d trades, %d mints; %d characters\n", r.Entries, r.Trades, r.Mints, r.Characters)
		for _, b := range r.Breaks {
			fmt.Fprintln(s.Out, "BREAK", b)
		}
		if c.Against != "" {
			printMissing(s.Out, c.Against, missing)
		}
	}
	if err == nil && len(missing) > 0 && r.Clean() {
		return errOnlyThere
	}
	if err == nil && !r.Clean() {
		err = errAudit
	}
	return err
}
