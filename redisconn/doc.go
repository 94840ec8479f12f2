// Package redisconn is the Redis service of the gateway: it opens clients for every form
// of URL, runs the embedded default, judges health, watches whether Redis is there, tells
// which errors mean that it is not, and measures commands.
//
//	client, err := redisconn.Open(ctx, "redis+sentinel://a:26379,b:26379/main", redisconn.Config{})
//
// Passwords never appear in errors, logs or health answers; Redact makes a URL fit to show.
package redisconn
