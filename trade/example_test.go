package trade_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/trade"
)

// A gift on the Redis that runs inside this process, as the gateway's embedded default does.
func Example() {
	server, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	ctx := context.Background()
	s := trade.New(rdb, open{}, plays{"ann": "anna", "bob": "bobo"}, &casts{}, trade.Config{})

	_, _ = s.Mint(ctx, grant("anna", "apple", 5, 100))
	present := trade.Gift{To: "bob", Give: trade.Goods{Items: []trade.Line{{ItemID: "apple", Qty: 2}}, Gold: 30}, IdempotencyKey: "birthday"}
	first, err := s.Execute(ctx, ann, present)
	fmt.Println(first.Status, err)
	again, err := s.Execute(ctx, ann, present) // the answer got lost: ask again
	fmt.Println(again.TradeID == first.TradeID, err)

	present.IdempotencyKey, present.Give.Gold = "another", 71
	_, err = s.Execute(ctx, ann, present)
	fmt.Println(errors.Is(err, trade.ErrGold))

	owned, _ := s.Owned(ctx, "bobo")
	fmt.Println(owned)
	report, _ := s.Audit(ctx)
	fmt.Println(report.Entries, report.Trades, report.Mints, report.Breaks)
	// Output:
	// completed <nil>
	// true <nil>
	// true
	// {[{apple 2}] 30}
	// 2 1 1 []
}
