// Command feature is a gateway with a feature of another Go module: everything that
// `gateway serve` serves, and dice; and quests, in a namespace of their own.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"example.com/feature/dice"
	"example.com/feature/quests"
	"github.com/aeturnis/realtime/server"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where players connect")
	redis := flag.String("redis", "", "the URL of Redis; without one an embedded Redis is started, which keeps nothing")
	dev := flag.Bool("dev", false, "let guests log in")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := server.Run(ctx, server.Config{
		Addr:     *addr,
		RedisURL: *redis,
		Dev:      *dev,
		Out:      os.Stdout,
		Features: []server.Feature{&dice.Feature{}, &quests.Feature{}},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
