package leaderboard_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/leaderboard"
)

// Points are counted once for each key. Of equal scores, the earlier one ranks higher.
func Example() {
	server, err := miniredis.Run()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	boards := leaderboard.New(redis.NewClient(&redis.Options{Addr: server.Addr()}), leaderboard.Config{})
	ctx, now := context.Background(), time.Now()
	for _, s := range []leaderboard.Score{
		{Key: "combat:1", ID: "c-zoe", Name: "Zoe", Points: 10, At: now},
		{Key: "combat:2", ID: "c-ann", Name: "Ann", Points: 10, At: now},
		{Key: "combat:2", ID: "c-ann", Name: "Ann", Points: 10, At: now}, // repeated, because the answer was lost
		{Key: "combat:3", ID: "c-bob", Name: "Bob", Points: 1, At: now},
	} {
		if err := boards.Add(ctx, s); err != nil {
			fmt.Println(err)
		}
	}
	top, err := boards.Top(ctx, leaderboard.Weekly, 10)
	for _, e := range top {
		fmt.Println(e.Rank, e.Name, e.Score)
	}
	fmt.Println(err)
	// Output:
	// 1 Zoe 10
	// 2 Ann 10
	// 3 Bob 1
	// <nil>
}
