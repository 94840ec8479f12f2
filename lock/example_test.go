package lock_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/lock"
)

func ExampleManager_Do() {
	rdb, stop := exampleRedis()
	defer stop()
	locks := lock.New(lock.Config{}, rdb)
	defer locks.Close()

	var last int64
	for range 2 {
		err := locks.Do(context.Background(), "trade:ann:bob", lock.Options{}, func(_ context.Context, l *lock.Lease) error {
			fmt.Println("inside; the fence rises:", l.Fence() > last)
			last = l.Fence()
			return nil
		})
		fmt.Println(err)
	}
	// Output:
	// inside; the fence rises: true
	// <nil>
	// inside; the fence rises: true
	// <nil>
}

// exampleRedis is a server on a private socket.
func exampleRedis() (*redis.Client, func()) {
	dir, err := os.MkdirTemp("", "lock")
	if err != nil {
		panic(err)
	}
	socket := dir + "/redis.sock"
	cmd := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir) //nolint:gosec
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	for rdb.Ping(context.Background()).Err() != nil {
		time.Sleep(time.Millisecond) // until it listens
	}
	return rdb, func() {
		_ = rdb.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
}
