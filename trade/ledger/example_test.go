package ledger_test

import (
	"context"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
	"github.com/aeturnis/realtime/trade/ledger"
)

// An audit finds gold that came from nowhere.
func ExampleLedger_Audit() {
	server, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	ctx := context.Background()
	trades := trade.New(rdb, nil, nil, nil, trade.Config{})
	_, _ = trades.Mint(ctx, trade.MintRequest{Key: "a reward", CharacterID: "anna", Gold: 5})

	book := ledger.New(rdb, ledger.Config{})
	entries, err := book.Entries(ctx, "", 10)
	fmt.Println(len(entries), entries[0].Kind, entries[0].Moves[0].To, entries[0].Moves[0].Gold, err)
	report, err := book.Audit(ctx)
	fmt.Println(report.Mints, report.Breaks, err)

	rdb.HIncrBy(ctx, keys.Inventory("anna"), ledger.GoldField, 2)
	report, err = book.Audit(ctx)
	fmt.Println(report.Clean(), report.Breaks, err)
	// Output:
	// 1 mint anna 5 <nil>
	// 1 [] <nil>
	// false [character anna: gold is 7, the ledger says 5] <nil>
}
