package cache_test

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/redisconn"
)

// example returns a cache on a Redis of its own.
func example() (m *cache.Manager, done func()) {
	ctx := context.Background()
	server, err := redisconn.Embedded(ctx, redisconn.EmbeddedConfig{})
	if err != nil {
		panic(err)
	}
	var rdb redis.UniversalClient
	if rdb, err = redisconn.Open(ctx, server.URL(), redisconn.Config{}); err != nil {
		panic(err)
	}
	m = cache.New(rdb, cache.Config{})
	return m, func() {
		m.Close()
		_ = rdb.Close()
		_ = server.Close()
	}
}

func ExampleGet() {
	m, done := example()
	defer done()
	ctx := context.Background()

	_ = m.Set(ctx, "user:123", hero{"John", 50}, time.Hour)
	user, ok, err := cache.Get[hero](ctx, m, "user:123")
	fmt.Println(user, ok, err)
	_, ok, err = cache.Get[hero](ctx, m, "user:456")
	fmt.Println(ok, err)
	// Output:
	// {John 50} true <nil>
	// false <nil>
}

func ExampleMGet() {
	m, done := example()
	defer done()
	ctx := context.Background()

	_ = m.MSet(ctx,
		cache.Item{Key: "user:123", Value: hero{"John", 50}, TTL: time.Hour},
		cache.Item{Key: "user:456", Value: hero{"Ann", 7}, TTL: 30 * time.Minute})
	users, err := cache.MGet[hero](ctx, m, []string{"user:123", "user:456", "user:789"})
	fmt.Println(users, err)
	// Output: map[user:123:{John 50} user:456:{Ann 7}] <nil>
}

func ExampleManager_AddToSet() {
	m, done := example()
	defer done()
	ctx := context.Background()

	_, _ = m.AddToSet(ctx, keys.OnlineUsers, "user:123")
	online, _ := m.SetMembers(ctx, keys.OnlineUsers)
	visits, _ := m.Increment(ctx, "page:visits", 1, 0)
	fmt.Println(online, visits)
	// Output: [user:123] 1
}

func ExampleAside() {
	m, done := example()
	defer done()
	ctx := context.Background()

	find := func(context.Context) (hero, error) {
		fmt.Println("asking the database")
		return hero{"John", 50}, nil
	}
	for range 2 {
		profile, err := cache.Aside(ctx, m, keys.User("123"), find, cache.Options{TTL: time.Hour, RefreshThreshold: 0.1})
		fmt.Println(profile, err)
	}
	// Output:
	// asking the database
	// {John 50} <nil>
	// {John 50} <nil>
}

func ExampleWriteThrough() {
	m, done := example()
	defer done()
	ctx := context.Background()

	update := func(_ context.Context, h hero) error {
		fmt.Println("the database has", h)
		return nil
	}
	err := cache.WriteThrough(ctx, m, keys.Character("456"), hero{"John", 51}, update, 30*time.Minute)
	cached, _, _ := cache.Get[hero](ctx, m, keys.Character("456"))
	fmt.Println(cached, err)
	// Output:
	// the database has {John 51}
	// {John 51} <nil>
}

func ExampleWarm() {
	m, done := example()
	defer done()
	ctx := context.Background()

	generate := func(context.Context) ([]string, error) { return []string{"ann", "john"}, nil }
	err := cache.Warm(ctx, m, keys.Leaderboard("global"), generate, 2*time.Hour)
	board, _, _ := cache.Get[[]string](ctx, m, keys.Leaderboard("global"))
	fmt.Println(board, err)
	// Output: [ann john] <nil>
}

func ExampleTagged() {
	m, done := example()
	defer done()
	ctx := context.Background()

	members := 10
	find := func(context.Context) (int, error) { return members, nil }
	guild := func() int {
		n, _ := cache.Tagged(ctx, m, keys.Guild("guild123"), []string{"guild", "social", "leaderboard"}, find, cache.Options{})
		return n
	}
	fmt.Println(guild())
	members = 11
	fmt.Println(guild())
	_ = m.InvalidateByTag(ctx, "guild")
	fmt.Println(guild())
	// Output:
	// 10
	// 10
	// 11
}
