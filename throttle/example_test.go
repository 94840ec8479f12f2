package throttle_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/throttle"
)

func ExampleApply() {
	var overrides []throttle.Override
	for _, flag := range []string{"chat=2000/1s", "combat=off", "trade=0/1s"} {
		o, err := throttle.ParseOverride(flag)
		if err != nil {
			fmt.Println(err)
			continue
		}
		overrides = append(overrides, o)
	}
	policies, err := throttle.Apply(throttle.Defaults(false), overrides)
	b, _ := json.Marshal(policies[:2])
	fmt.Println(string(b), err)
	// Output:
	// "trade=0/1s": throttle: a limit is a whole number from 1 to 1000000
	// [{"name":"combat","limit":0,"windowMs":5000,"scope":"user"},{"name":"chat","limit":2000,"windowMs":1000,"scope":"user"}] <nil>
}

func ExampleLimiter_SpendKey() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	limiter, err := throttle.New(rdb, nil, throttle.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer limiter.Close()

	decision, err := limiter.SpendKey(context.Background(), "mail:ann@example.org", 1, time.Hour)
	switch {
	case err != nil:
		fmt.Println(err)
	case !decision.Allowed:
		fmt.Println("the next mail may be sent in", decision.RetryAfter)
	}
}
