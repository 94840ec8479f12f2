package redisconn_test

import (
	"context"
	"fmt"

	"github.com/aeturnis/realtime/redisconn"
)

func Example() {
	ctx := context.Background()
	server, err := redisconn.Embedded(ctx, redisconn.EmbeddedConfig{InProcess: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client, err := redisconn.Open(ctx, server.URL(), redisconn.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	fmt.Println(server.Kind(), redisconn.Check(ctx, client).Status)
	// Output: miniredis up
}

func ExampleRedact() {
	fmt.Println(redisconn.Redact("redis+sentinel://ann:hunter2@a,b:26380/main"))
	// Output: redis+sentinel://ann:***@a:26379,b:26380/main
}
