// Package cache keeps what others own: values in Redis (L2), the hot ones in this process too
// (L1), and the patterns that fill, refresh and forget them.
//
//	m := cache.New(client, cache.Config{})
//	go m.Run(ctx) // hears what other nodes change; L1 works while it does
//
//	user, err := cache.Aside(ctx, m, keys.User("123"), func(ctx context.Context) (User, error) {
//		return repository.FindByID(ctx, "123")
//	}, cache.Options{TTL: time.Hour, RefreshThreshold: 0.1})
//
// # What is promised
//
//   - A value is stored as plain JSON under its own key, for other programs to read. Only what
//     Tagged stores has an envelope around it.
//   - A miss is not an error. Nor is Redis: when it does not answer, reads are misses that
//     Stats counts and Config.Failed hears, and the source answers.
//   - One load: whoever asks for a missing value waits for the load that is under way, in this
//     process and on other nodes. A load has a lease in Redis, which ends by itself.
//   - No old value over a new one: a load that was under way when the key was set or deleted
//     does not store what it found.
//   - What one node sets, deletes or invalidates is gone from the L1 of the others when pub/sub
//     has told them (well under 100 ms), and at the latest after Local.TTL. While nothing is
//     heard from Redis, L1 serves for Local.TTL, and after that only if the source fails too.
//   - Nothing grows: values expire, tags are versions and not sets of keys, L1 is bounded.
//
// # What is not
//
//   - Between a write to the source and the Delete or Set that follows, and for the flight of
//     a pub/sub message, readers see the old value.
//   - With Options.StaleFor, Redis keeps a value that much longer than its TTL; who reads the
//     key without these options sees it until then.
//
// Keys are 1 to 512 bytes without braces, tags 1 to 128. The client should be one with short
// timeouts; Config.Budget bounds each call besides.
package cache
