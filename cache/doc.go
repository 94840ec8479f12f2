// Package cache keeps values in Redis (L2) and the hot ones in this process too (L1), with the
// usual patterns: cache-aside with refresh and stale values, write-through, warming, and
// invalidation by tags.
//
//	m := cache.New(client, cache.Config{})
//	go m.Run(ctx) // receives the changes of other nodes; L1 serves values while it runs
//
//	user, err := cache.Aside(ctx, m, keys.User("123"), func(ctx context.Context) (User, error) {
//		return repository.FindByID(ctx, "123")
//	}, cache.Options{TTL: time.Hour, RefreshThreshold: 0.1})
//
// # What it promises
//
//   - A value is stored as plain JSON under its own key, so that other programs can read it. Only
//     the values of [Tagged] have an envelope around them.
//   - A miss is not an error. Nor is a Redis that does not answer: then Aside asks the source,
//     and the failure is counted in Stats and reported to Config.OnError.
//   - One load at a time: all callers of a missing value, in this process and on other nodes,
//     wait for the same load. A load has a lease in Redis, which expires by itself.
//   - No old value replaces a new one: if a key is set or deleted during a load of it, the load
//     does not store its result.
//   - When one node sets, deletes or invalidates a value, the other nodes drop it from their L1 as
//     soon as the pub/sub message arrives (well under 100 ms), and after Local.TTL at the latest.
//     Without a connection to Redis, L1 serves a value for Local.TTL, and after that only if the
//     source fails too.
//   - Nothing grows without bounds: values expire, a tag is one version number and not a set of
//     keys, and L1 has a size.
//
// # What it does not promise
//
//   - Readers may see the old value between a write to the source and the Delete or Set that
//     follows it, and until the pub/sub message has arrived.
//   - With Options.StaleFor, Redis keeps a value that much longer than its TTL. A reader of the
//     key that does not use the same options sees the stale value as fresh.
//
// A key has 1 to 512 bytes without braces, a tag 1 to 128. The client should have short timeouts;
// Config.Budget bounds each call in addition.
package cache
