package jobs_test

import (
	"context"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/jobs"
	"github.com/aeturnis/realtime/redisconn"
)

func Example() {
	ctx := context.Background()
	server, err := redisconn.Embedded(ctx, redisconn.EmbeddedConfig{})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	rdb, err := redisconn.Open(ctx, server.URL(), redisconn.Config{})
	if err != nil {
		panic(err)
	}
	defer rdb.Close()

	r := jobs.New(rdb, newLocks(rdb), jobs.Config{Node: "a"}, jobs.Job{
		Name: "temp", Every: 5 * time.Minute, Run: func(ctx context.Context) error {
			n, err := jobs.RemoveKeysWithoutTTL(ctx, rdb, "temp:*")
			fmt.Println("removed", n)
			return err
		},
	})
	rdb.Set(ctx, "temp:upload:1", "forgotten", 0)
	fmt.Println(r.RunNow(ctx, "temp"))
	// Output:
	// removed 1
	// <nil>
}
